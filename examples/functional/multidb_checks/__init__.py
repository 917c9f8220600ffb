"""Finds faults in projects with several databases: by checks, a command, and in a run of the tests.

Copy the whole folder.

``python manage.py check`` then also reports faults of the routers, the models, the migrations and
the settings. The checks ask the routers, and open no connection. ``python manage.py drift``
compares each database with the routers, the models and the migrations. The command only reads, so
it is safe on a database in production. With the setting ``MULTIDB_WATCH``, a run of the tests warns
of each transaction that writes to two databases.

The modules, in reading order. First the checks:

``answers``
    which aliases the routers return for each model, and which aliases hold the same rows;
``relations``
    foreign keys and many-to-many fields between two databases;
``routing``
    routers that answer only one of two questions, or a different alias each time;
``data_migrations``
    ``RunPython`` and ``RunSQL`` that run on a wrong database;
``entries``
    entries of ``DATABASES``: an empty ``default``, and ``MIRROR``.

Then the command:

``catalogue``
    the tables and columns of a database, in a read-only transaction;
``differences``
    what differs between a database and the code;
``management``
    the command ``drift``.

Then a run of the tests:

``watching``
    ``atomic()`` blocks that write to two databases, or not to their own.

``apps`` registers the checks under the tag ``multidb``: ``python manage.py check --tag multidb``.
It also starts ``watching``, if ``MULTIDB_WATCH`` is true.

Simpler alternatives: with a single database you need none of this. If each app has one database,
a test of the router for each model is often enough.

The settings
------------

The app needs only Django, and has no models. Add to ``settings.py``::

    INSTALLED_APPS += ["multidb_checks"]

Only if the tests run with these settings, also add to ``settings.py``::

    MULTIDB_WATCH = True

If you know a warning and accept it, silence it with Django's own setting::

    SILENCED_SYSTEM_CHECKS = ["multidb.W003"]
"""
