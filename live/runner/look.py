"""Print the tables of each alias as JSON, with the number of rows and the first five.

The standard input has the aliases of the page's interpreter, which may have added some. A
database that does not exist is not created by looking.
"""

import json
import os
import sys

import django
from django.db import connections

django.setup()
for alias, options in json.load(sys.stdin).items():
    connections.settings.setdefault(alias, options)
found = {}
for alias in connections:
    connection, tables = connections[alias], found.setdefault(alias, {})
    try:
        path = str(connection.settings_dict["NAME"]).removeprefix("file:").partition("?")[0]
        if not os.path.exists(path):
            raise FileNotFoundError(f"There is no file {os.path.basename(path)} yet.")
        with connection.cursor() as cursor:
            for name in sorted(connection.introspection.table_names(cursor)):
                quoted = connection.ops.quote_name(name)
                cursor.execute(f"SELECT COUNT(*) FROM {quoted}")
                count = cursor.fetchone()[0]
                cursor.execute(f"SELECT * FROM {quoted} LIMIT 5")
                columns = [column[0] for column in cursor.description]
                rows = [[str(value)[:60] for value in row] for row in cursor.fetchall()]
                tables[name] = {"columns": columns, "rows": rows, "count": count}
    except Exception as error:
        found[alias] = {"error": str(error)}
print(json.dumps(found))
