"""Tables whose rows are on several servers, while Django has one database. Copy the whole folder.

One server, the coordinator, has the tables of all apps. The rows of some tables are on other
servers, the nodes: with PostgreSQL by postgres_fdw, with MariaDB by Spider. Django queries the
coordinator only. The nodes are aliases too, for migrations and for looking at a node by itself.

The keys are those of the app ``sharding``, which each process makes without a query. No database
checks that a key is unique over all nodes, so do not use AutoField.

The modules, in reading order:

``operations``
    ``Distribute``, the operation of the one migration, and ``OnNodes``;
``engines``
    the SQL for PostgreSQL and MariaDB;
``routers``
    ``NodeRouter``, by which a node has only the distributed tables;
``postgresql`` and ``mysql``
    the ``ENGINE`` of the coordinator: Django's, without what its tables can't do;
``tables``
    which tables are distributed, and what a node has of them;
``checks``
    system checks: ``python manage.py check`` finds wrong settings, and ``check --database default``
    asks the servers;
``apps``
    registers the checks;
``management``
    the commands ``sqlnodes``, ``nodes``, and ``takeover``, which moves the rows of shards here.

The settings
------------

Copy the folder ``sharding`` too. The app ``sharding`` has no shards here, only keys. Add to
``settings.py``::

    INSTALLED_APPS += ["distributed", "sharding", "sharding.fences"]
    DATABASE_ROUTERS = ["distributed.routers.NodeRouter"]
    COORDINATOR = "default"  # the alias that is queried
    NODES = []  # without nodes, all rows are in the coordinator
    DISTRIBUTED_APPS = {"notes"}  # the labels of the apps whose rows are on the nodes
    SHARDS = []
    SHARDED_APPS = {"notes"}
    # Worker numbers. Each process of this host that makes keys takes one.
    KEY_WORKERS = range(64)  # on a second host: range(64, 128). The highest is 255.
    KEY_WORKERS_DIR = BASE_DIR / ".workers"  # never delete its files

All models of a distributed app have keys. Write in ``models.py``::

    from sharding.fields import KeyField
    from sharding.models import Sharded


    class Author(Sharded):
        id = KeyField()
        name = models.CharField(max_length=100)


    class Note(Sharded):
        id = KeyField(of="author")
        author = models.ForeignKey(Author, models.CASCADE, related_name="notes")
        text = models.TextField()

Run ``makemigrations``. Then write a second migration. It names for each model, parents first, the
field that decides on which node a row is. Write in ``notes/migrations/0002_distributed.py``::

    from django.db import migrations

    from distributed.operations import Distribute


    class Migration(migrations.Migration):
        dependencies = [("notes", "0001_initial")]
        operations = [Distribute(Author="id", Note="author")]

The servers
-----------

On SQLite, ``NODES`` stays empty. With servers of PostgreSQL, the settings after ``DATABASES`` are::

    NODES = ["node0", "node1", "node2"]
    DATABASES |= {
        "node0": DATABASES["default"] | {"HOST": "node0.example"},
        "node1": DATABASES["default"] | {"HOST": "node1.example"},
        "node2": DATABASES["default"] | {"HOST": "node2.example"},
    }
    DATABASES["default"]["ENGINE"] = "distributed.postgresql"

With MariaDB, the last line names ``"distributed.mysql"``. The server of the coordinator connects to
each node with the ``HOST``, ``USER`` and ``PASSWORD`` of that node's entry. A user of PostgreSQL
who is not a superuser must have a password there. The order of ``NODES`` can't change later.

An administrator of the coordinator's server executes in the coordinator's database what
``python manage.py sqlnodes`` prints. Its first statements give the application's user the right to
make nodes known. With only these, ``migrate`` executes the others:

PostgreSQL
    ``CREATE EXTENSION postgres_fdw`` needs a superuser. The nodes need no extension. The passwords
    are in the catalog ``pg_user_mapping``, which the user and superusers can read. If a password
    changes: ``ALTER USER MAPPING FOR … SERVER node0 OPTIONS (SET password '…')``.

MariaDB
    The coordinator's server needs the plugin Spider (Debian: ``mariadb-plugin-spider``). The nodes
    don't. The passwords are in the table ``mysql.servers``. If a password changes, execute the
    printed statements again, and then ``FLUSH TABLES``. If the server has a binary log, the user
    needs ``SUPER`` for the triggers of the migration, or the server the setting
    ``log_bin_trust_function_creators``. If nodes are databases of the coordinator's own server, the
    entry of the coordinator needs ``"OPTIONS": {"init_command": "SET
    spider_same_server_link = ON"}``. A join over all rows is slow, because Spider asks a node for
    each row. ``SET join_cache_level = 8`` made the sums of 150,000 rows for their 100,000 parents
    about five times as fast (MariaDB 10.11). Set this only for such a query: the newest 20 rows
    with their parents then took a thousand times as long.

Then migrate each node, and the coordinator last::

    python manage.py migrate notes --database=node0
    python manage.py migrate notes --database=node1
    python manage.py migrate notes --database=node2
    python manage.py migrate
    python manage.py nodes

Later migrations are applied in this order, too. A column is removed from the coordinator first. A
new column needs ``null=True`` or ``db_default``. A unique constraint, which the coordinator can't
have, is ``OnNodes(migrations.AddConstraint(…))``: it compares the rows of each node by themselves.

Test runs are simplest with ``NODES = []``. Tests that need the nodes name all aliases
(``databases = "__all__"``), and the entries need ``"TEST": {"DEPENDENCIES": NODES}`` for the
coordinator and ``"TEST": {"DEPENDENCIES": []}`` for each node.
"""
