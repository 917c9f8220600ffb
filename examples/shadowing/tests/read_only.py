"""What is read-only on SQLite is so on a server: there an option of the connection stands in.

A project had better give its developers a user that may only ``SELECT``.
"""

from tests import engines


def on(engine, alias, database):
    changed = engines.on(engine, alias, database)
    if "mode=ro" in str(database["NAME"]):
        options = (
            {"options": "-c default_transaction_read_only=on"}
            if engine is engines.POSTGRESQL
            else {"init_command": "SET SESSION TRANSACTION READ ONLY"}
        )
        changed["OPTIONS"] = changed.get("OPTIONS", {}) | options
    return changed
