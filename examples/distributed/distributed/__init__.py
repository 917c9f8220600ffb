"""Tables whose rows are on several servers, while Django has one database. Copy the whole folder.

One server, the coordinator, has the tables of all apps. The rows of some tables are on other
servers, the nodes: with PostgreSQL by postgres_fdw, with MariaDB by Spider. Django queries the
coordinator only. The nodes are aliases too, for migrations and for looking at a node by itself.

``operations``
    ``Distribute``, the operation of the one migration, and ``OnNodes``;
``engines``
    the SQL for PostgreSQL and MariaDB;
``routers``
    ``NodeRouter``, by which a node has only the distributed tables;
``management``
    the command ``sqlnodes``.

The keys are those of the app ``sharding``, which each process makes without a query.
"""
