"""The SQL of each engine: the nodes as seen by the coordinator, and their guards."""

from django.conf import settings
from django.db import connections

from sharding.keys import BUCKETS, keys_of


def literal(text):
    return "'" + str(text).replace("'", "''") + "'"


def guard_name(model):
    """Return the name of the constraint by which a node refuses rows of other nodes."""
    return f"{model._meta.db_table}_of_node"


class PostgreSQL:
    """postgres_fdw: a table has partitions by hash, and each partition is a foreign table."""

    # Options of the driver that a connection from the coordinator to a node needs, too.
    PASSED = ["connect_timeout", "sslmode", "sslrootcert", "sslcert", "sslkey"]
    # How many rows are fetched, or sent, at once; and that all nodes work at the same time. With
    # more rows to fetch, the newest 20 rows would take longer, because LIMIT is not sent.
    FETCHING = {
        "fetch_size": 1_000,
        "batch_size": 1_000,
        "async_capable": "true",
        "parallel_commit": "true",
    }

    def allow(self, coordinator):
        """Yield the statements that an administrator executes in the coordinator's database."""
        user = coordinator.ops.quote_name(coordinator.settings_dict["USER"])
        yield "CREATE EXTENSION IF NOT EXISTS postgres_fdw"
        yield f"GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {user}"

    def prepare(self, coordinator):
        """Yield the statements that make the nodes known. They need what ``allow()`` grants."""
        name = coordinator.ops.quote_name
        user = name(coordinator.settings_dict["USER"])
        for alias in settings.NODES:
            node = connections[alias].settings_dict
            address = {"host": node["HOST"], "port": node["PORT"], "dbname": node["NAME"]}
            address |= {key: node["OPTIONS"][key] for key in self.PASSED if key in node["OPTIONS"]}
            yield (
                f"CREATE SERVER IF NOT EXISTS {name(alias)} FOREIGN DATA WRAPPER postgres_fdw "
                f"OPTIONS ({self.options(address | self.FETCHING)})"
            )
            yield f"GRANT USAGE ON FOREIGN SERVER {name(alias)} TO {user}"
            login = {"user": node["USER"], "password": node["PASSWORD"]}
            if not node["PASSWORD"]:
                login["password_required"] = "false"
            yield (
                f"CREATE USER MAPPING IF NOT EXISTS FOR {user} SERVER {name(alias)} "
                f"OPTIONS ({self.options(login)})"
            )

    def options(self, values):
        return ", ".join(f"{key} {literal(value)}" for key, value in values.items() if value)

    def unknown(self, coordinator):
        """Return the nodes that the coordinator does not know."""
        with coordinator.cursor() as cursor:
            cursor.execute("SELECT srvname FROM pg_user_mappings WHERE usename = current_user")
            known = {alias for (alias,) in cursor.fetchall()}
        return [alias for alias in settings.NODES if alias not in known]

    def partitions(self, coordinator, model):
        """Return the nodes that have a partition of the model's table."""
        with coordinator.cursor() as cursor:
            cursor.execute(
                "SELECT srvname FROM pg_inherits "
                "JOIN pg_foreign_table ON ftrelid = inhrelid "
                "JOIN pg_foreign_server ON pg_foreign_server.oid = ftserver "
                "WHERE inhparent = to_regclass(%s)",
                [coordinator.ops.quote_name(model._meta.db_table)],
            )
            return {alias for (alias,) in cursor.fetchall()}

    def distribute(self, editor, model, field):
        """Make the empty table of a model one whose rows are on the nodes, by the field's value."""
        table, name = model._meta.db_table, editor.quote_name
        new = f"{table}_distributed"
        editor.execute(
            f"CREATE TABLE {name(new)} "
            f"(LIKE {name(table)} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) "
            f"PARTITION BY HASH ({name(field.column)})"
        )
        for number, alias in enumerate(settings.NODES):
            editor.execute(
                f"CREATE FOREIGN TABLE {name(f'{table}_{alias}')} PARTITION OF {name(new)} "
                f"FOR VALUES WITH (MODULUS {len(settings.NODES)}, REMAINDER {number}) "
                f"SERVER {name(alias)} OPTIONS (table_name {literal(table)})"
            )
        editor.execute(f"DROP TABLE {name(table)}")
        editor.execute(f"ALTER TABLE {name(new)} RENAME TO {name(table)}")
        # Queries use the indexes of the nodes. These are for later migrations, which change them.
        for statement in editor._model_indexes_sql(model):
            editor.execute(statement)

    def prepare_node(self, editor, model, field):
        """Prepare the table of a node, before its guard is added."""
        table, name = model._meta.db_table, editor.quote_name
        # The guard's function takes the type of the value from a partitioned table.
        editor.execute(
            f"CREATE TABLE {name(f'{table}_hash')} (value {field.db_type(editor.connection)}) "
            "PARTITION BY HASH (value)"
        )

    def guard(self, model, field, number):
        """Return the condition that the rows of a node fulfil, as SQL."""
        types = literal(f"{model._meta.db_table}_hash")
        return (
            f"satisfies_hash_partition({types}::regclass, {len(settings.NODES)}, {number}, "
            f'"{field.column}")'
        )


class MariaDB:
    """Spider: a table has partitions by ranges of keys, and each is a table of a node."""

    def server(self, coordinator, alias):
        """Return the name of a node. All databases of a MariaDB server share these names."""
        return f"{coordinator.settings_dict['NAME']}_{alias}"

    def allow(self, coordinator):
        user = f"{literal(coordinator.settings_dict['USER'])}@localhost"
        yield "INSTALL PLUGIN IF NOT EXISTS spider SONAME 'ha_spider'"
        yield f"GRANT FEDERATED ADMIN ON *.* TO {user}"
        yield f"GRANT SELECT ON mysql.servers TO {user}"

    def prepare(self, coordinator):
        for alias in settings.NODES:
            node = connections[alias].settings_dict
            at = {"HOST": node["HOST"], "PORT": int(node["PORT"] or 3306)}
            if node["HOST"].startswith("/"):
                at = {"HOST": "localhost", "SOCKET": node["HOST"]}
            at |= {"DATABASE": node["NAME"], "USER": node["USER"], "PASSWORD": node["PASSWORD"]}
            options = ", ".join(
                f"{key} {value if isinstance(value, int) else literal(value)}"
                for key, value in at.items()
            )
            yield (
                f"CREATE OR REPLACE SERVER {literal(self.server(coordinator, alias))} "
                f"FOREIGN DATA WRAPPER mysql OPTIONS ({options})"
            )

    def unknown(self, coordinator):
        with coordinator.cursor() as cursor:
            cursor.execute("SELECT Server_name FROM mysql.servers")
            known = {name for (name,) in cursor.fetchall()}
        return [a for a in settings.NODES if self.server(coordinator, a) not in known]

    def partitions(self, coordinator, model):
        # information_schema.partitions would ask each node, and one of them may be down.
        with coordinator.cursor() as cursor:
            cursor.execute(f"SHOW CREATE TABLE {coordinator.ops.quote_name(model._meta.db_table)}")
            _, sql = cursor.fetchone()
        return {a for a in settings.NODES if f'srv "{self.server(coordinator, a)}"' in sql}

    def distribute(self, editor, model, field):
        table, name = model._meta.db_table, editor.quote_name
        new = f"{table}_distributed"
        editor.execute(f"DROP TABLE IF EXISTS {name(new)}")  # of a migration that failed
        editor.execute(f"CREATE TABLE {name(new)} LIKE {name(table)}")
        if field is not model._meta.pk:
            # A unique key of a partitioned table must have the column of its partitions.
            key = f"{name(model._meta.pk.column)}, {name(field.column)}"
            editor.execute(f"ALTER TABLE {name(new)} DROP PRIMARY KEY, ADD PRIMARY KEY ({key})")
        partitions = ", ".join(
            f"PARTITION {name(alias)} VALUES LESS THAN ({self.keys(number)[1] + 1}) "
            f"COMMENT = 'srv \"{self.server(editor.connection, alias)}\"'"
            for number, alias in enumerate(settings.NODES)
        )
        editor.execute(
            f"""ALTER TABLE {name(new)} ENGINE = SPIDER COMMENT = 'wrapper "mysql", """
            f"""table "{table}"' PARTITION BY RANGE ({name(field.column)}) ({partitions})"""
        )
        editor.execute(f"DROP TABLE {name(table)}")
        editor.execute(f"RENAME TABLE {name(new)} TO {name(table)}")
        # Spider would move the row to another node without the columns that it has not read,
        # because the UPDATE does not name them. Then they are NULL on the new node.
        editor.execute(
            f"CREATE TRIGGER {name(f'{table}_stays')} BEFORE UPDATE ON {name(table)} FOR EACH ROW "
            f"IF NEW.{name(field.column)} <> OLD.{name(field.column)} THEN SIGNAL SQLSTATE '45000' "
            f"SET MESSAGE_TEXT = 'The {field.column} of this row can''t change: insert a new row "
            "and delete this one'; END IF"
        )
        # Without a trigger, Spider lets the nodes delete, and reports that 0 rows were deleted.
        editor.execute(
            f"CREATE TRIGGER {name(f'{table}_counted')} BEFORE DELETE ON {name(table)} "
            "FOR EACH ROW BEGIN END"
        )

    def prepare_node(self, editor, model, field):
        pass  # the guard needs nothing

    def guard(self, model, field, number):
        first, last = self.keys(number)
        return f"`{field.column}` BETWEEN {first} AND {last}"

    def keys(self, number):
        """Return the first and the last key of a node, which has an equal run of buckets."""
        nodes = len(settings.NODES)
        return (
            keys_of(number * BUCKETS // nodes)[0],
            keys_of((number + 1) * BUCKETS // nodes - 1)[1],
        )


ENGINES = {"postgresql": PostgreSQL(), "mysql": MariaDB()}


def guard(node, model, field):
    """Return the condition that the rows of a node fulfil, as SQL. ``node`` is its connection."""
    number = settings.NODES.index(node.alias)
    return ENGINES[node.vendor].guard(model, field, number)


def add_guard(node, model, field):
    """Return the SQL by which a node refuses the rows of other nodes."""
    table, name = (node.ops.quote_name(n) for n in (model._meta.db_table, guard_name(model)))
    return f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({guard(node, model, field)})"
