"""Replication for SQLite, to learn from: it plays the part of what a database server does itself.

``log`` writes down each change of the primary, in the transaction that makes it; ``snapshot``
copies the primary whole; ``applier`` brings a copy up to date from the log, in order; ``promotion``
puts a copy in the place of a primary that is lost. ``files`` knows which alias is which file.

In production use the replication of the database: PostgreSQL's, MariaDB's. It survives the loss of
a machine, which this does not: all these files are on one disk. There, leave this app out of
``INSTALLED_APPS``; ``DATABASES``, and how a position is read, are all that changes.
"""
