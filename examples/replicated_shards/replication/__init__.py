"""Replication for SQLite, for learning. A database server replicates without such an app.

``log`` records each change of the primary, in the transaction of the change. ``snapshot`` copies
the whole primary. ``applier`` brings a copy up to date from the log, in order. ``promotion``
replaces a lost primary by a copy. ``files`` maps aliases to files.

In production, use the replication of your database server, such as PostgreSQL or MariaDB. It
survives the loss of a machine. This app does not, because all its files are on one disk. There,
remove this app from ``INSTALLED_APPS``. Only ``DATABASES`` and ``REPLICA_POSITION`` change.
"""
