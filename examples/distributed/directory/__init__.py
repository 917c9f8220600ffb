"""E-mail addresses that are unique over all shards. Copy the whole folder.

It needs the app ``sharding``. The modules, in reading order:

``models``
    ``EmailAddress``, a table in ``default``: which row has an address;
``claims``
    ``save()`` and ``delete()``, which replace the model's own methods and claim or release the
    address, and ``find()``;
``checks``
    a system check of the setting;
``management``
    the command ``reconcile``, which corrects the directory after a crash between two databases.

Simpler: a unique constraint, if all rows are in one database. Or a ``UniqueConstraint`` that has
the foreign key, if a value must be unique only among the rows of one owner, which are on one shard.

The settings
------------

Add to ``settings.py``::

    INSTALLED_APPS += ["directory"]
    DIRECTORY_OWNER = "notes.Member"  # the sharded model whose rows have the addresses

The owner has a field ``email``, without ``unique=True``. Write in ``models.py``::

    class Member(Sharded):
        id = KeyField()
        email = models.EmailField()

Then write ``claims.save(member)`` instead of ``member.save()``, outside of a transaction on
``default``, and ``claims.delete(member)`` instead of ``member.delete()``.
"""
