"""An e-mail address is one row's, though no shard sees the rows of another. To be copied whole.

It needs the app ``sharding``. Its parts, in reading order:

``models``
    ``EmailAddress``, a table in ``default``: which row has an address;
``claims``
    how an address comes to be there: ``save()`` and ``delete()`` in place of the row's own, and
    ``find()``;
``checks``
    what a copy forgets: ``python manage.py check`` says it;
``management``
    the command ``reconcile``, which mends what a crash has left between two databases.

Plainer: a unique constraint, where all rows are in one database; or a ``UniqueConstraint`` with the
foreign key in it, where something is to be unique among the rows of one owner, as these are on one
shard.

The settings
------------

Add to ``settings.py``::

    INSTALLED_APPS += ["directory"]
    DIRECTORY_OWNER = "notes.Member"  # the sharded model whose rows have the addresses

The owner has a field ``email``, which is not unique by itself. Write in ``models.py``::

    class Member(Sharded):
        id = KeyField()
        email = models.EmailField()

Then write ``claims.save(member)`` for ``member.save()``, outside of a transaction on ``default``,
and ``claims.delete(member)``.
"""
