"""Reference tables: small tables in ``default``, with a copy on each shard, so that SQL can join.

All models of an app are reference tables, or none is. Write in ``settings.py``::

    INSTALLED_APPS += ["regions", "sharding.reference"]
    REFERENCE_APPS = {"regions"}

Write in ``models.py`` of that app::

    from django.db import models

    from sharding.reference.models import Reference


    class Zone(Reference):
        name = models.CharField(max_length=50, unique=True)

A model on shards then refers to it like this::

    zone = models.ForeignKey("regions.Zone", models.DO_NOTHING, related_name="+")

Then run ``migrate`` and ``migrate_shards``. ``sync_reference`` repairs a shard that was down, or
whose rows were changed by SQL. A shard without the newest rows is named by ``shard_status``.
"""
