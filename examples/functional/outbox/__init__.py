"""The outbox: an effect in another database, exactly once and in order. Copy the whole folder.

A message is written with the data, in one transaction: both are there, or neither. A worker,
``python manage.py deliver --follow``, then calls your function in a transaction on the other
database. In this transaction the outbox counts the message. So a message that is delivered again,
after a crash, is not applied again. Messages with the same key are applied in the order of their
COMMITs.

The modules, in reading order:

``models``
    ``Message`` and ``Stream``, in a database that sends, and ``Received``, in one that receives;
``sending``
    ``send()``;
``delivery``
    ``deliver()``, which the worker calls, and by which a task of your own can deliver;
``conf``
    the settings, with their defaults;
``routers``
    ``OutboxRouter``, by which each of these databases gets the tables;
``checks``
    system checks of the settings and of the routers;
``retention``
    deletes messages that were delivered some days ago;
``status``
    how many messages wait, and for how long;
``restored``
    what to do after one of the two databases was restored from a backup;
``admin``
    a list of the messages: messages that were set aside can be tried again, or skipped;
``management``
    the commands ``deliver``, ``outbox_status`` and ``outbox_reconcile``.

Simpler: keep both tables in one database, where a transaction covers them. Or commit first what
does no harm alone, and let a command search for what is missing.

The settings
------------

Add to ``settings.py``::

    INSTALLED_APPS += ["outbox"]
    DATABASE_ROUTERS = ["outbox.routers.OutboxRouter", *DATABASE_ROUTERS]
    OUTBOX_SOURCES = ["default"]  # the aliases of the databases that send
    # For each topic: the alias of the database that receives, and the function to call.
    OUTBOX_RECEIVERS = {"notes": ("other", "notes.receiving.receive")}

Optional, with their defaults::

    OUTBOX_TRIES = 10  # so often a function may fail; then its message is set aside
    OUTBOX_KEEP_DAYS = 7  # delivered messages are kept for so long

Write a message in the transaction that writes the data::

    from django.db import transaction
    from outbox.sending import send

    with transaction.atomic(using="default"):
        note.save()
        send("notes", key=note.pk, body={"text": note.text}, using="default")

Write the function. It may only write to the database that receives::

    def receive(message):
        Copy.objects.create(note_id=message.key, text=message.body["text"])

Then migrate each of these databases, and run the worker::

    python manage.py migrate outbox
    python manage.py migrate outbox --database=other
    python manage.py deliver --follow
"""
