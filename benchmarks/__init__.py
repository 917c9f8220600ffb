"""The cost of each pattern, compared with other packages, on this machine.

This file has the code that all benchmarks share: a copy of the example, a function that times
several candidates in turn, and the file of results.
"""

import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

HERE = Path(__file__).parent

# The entry of an alias on a server, whose address is in the variables of libpq or of MariaDB's
# client; and the package of the driver.
SERVERS = {
    "postgresql": ({"ENGINE": "django.db.backends.postgresql"}, "psycopg"),
    "mariadb": ({"ENGINE": "django.db.backends.mysql"}, "mysqlclient"),
}

# Converts the seconds for one operation to each unit.
UNITS = {
    "ns": lambda seconds: seconds * 1e9,
    "µs": lambda seconds: seconds * 1e6,
    "ms": lambda seconds: seconds * 1e3,
    "rows/s": lambda seconds: 1 / seconds,
    "messages/s": lambda seconds: 1 / seconds,
}
ROW = "  {:<36}{:>11}{:>9}{:>9}{:>8}{:>13}{:>9}{:>8}"


def engine_named():
    """Return the engine that the command names, or else "sqlite"."""
    match sys.argv[1:]:
        case []:
            return "sqlite"
        case [engine] if engine in SERVERS:
            return engine
    sys.exit(f"The engine must be {' or '.join(SERVERS)}. For SQLite, name no engine.")


def versions_of(packages):
    """Return a dict of the versions of installed packages. Exit if one is not installed."""
    try:
        return {package: version(package) for package in packages}
    except PackageNotFoundError as error:
        sys.exit(
            f"{error.name} is not installed. Run: make bench, "
            "or: python -m pip install -r benchmarks/requirements.txt"
        )


@contextmanager
def copy_of(example):
    """Work in a copy of an example's folder, without databases, and import from there."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / example
        ignored = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
        shutil.copytree(HERE.parent / "examples" / example, copy, ignore=ignored)
        before = Path.cwd()
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        try:
            yield
        finally:
            os.chdir(before)


def start_django(engine, databases=None, module="shop.settings", **settings):
    """Set Django up for the project in the current folder, on that engine.

    ``module`` has the project's settings. On a server, an empty database is made for each alias,
    unless ``databases`` has an entry for the alias, and ``settings`` are added to the project's.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = module
    if engine != "sqlite":
        DATABASES = import_module(module).DATABASES
        moved, _ = SERVERS[engine]
        settings["DATABASES"] = {
            alias: {"TEST": database.get("TEST", {})}
            | moved
            | (databases[alias] if databases else {"NAME": alias})
            for alias, database in DATABASES.items()
        }
        lines = [f"{name} = {value!r}\n" for name, value in settings.items()]
        Path("on_server.py").write_text(f"from {module} import *\n\n" + "".join(lines))
        os.environ["DJANGO_SETTINGS_MODULE"] = "on_server"
    import django
    from django.conf import settings as django_settings

    django.setup()
    django_settings.DEBUG = False  # otherwise Django stores each query
    if engine != "sqlite" and not databases:
        create_databases(django_settings.DATABASES)


def create_databases(aliases):
    """Make the databases of these aliases on the server."""
    from django.db import connections

    for alias in aliases:
        connection = connections[alias]
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {connection.ops.quote_name(alias)}")


def manage(*arguments):
    """Run manage.py in the current folder. If it fails, exit with its message."""
    process = subprocess.run([sys.executable, "manage.py", *arguments], capture_output=True)
    if process.returncode:
        sys.exit(f"manage.py {' '.join(arguments)}: {process.stderr.decode().strip()}")


def summary(values):
    """Return the median and the range of some numbers, to four digits."""
    values = list(values)
    figures = {"median": median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{figure:.4g}") for name, figure in figures.items()}


def compare(title, unit, functions, runs, prepare=lambda name: None):
    """Time functions in turn (A B A B), after one round that does not count. Print and return it.

    ``functions`` is a dict by name. Each function does some operations, and returns their number.
    Before each call, ``prepare(name)`` is called, and not timed. The result has for each name, in
    ``unit`` for one operation, summaries of the processor time of this process (``cpu``), of the
    time that passed (``wall``), and of the ratios of both to the first function in the same round.
    Other processes disturb the ratios least.
    """
    times = {name: {"cpu": [], "wall": []} for name in functions}
    for run in range(1 + runs):
        for name, function in functions.items():
            prepare(name)
            wall, cpu = perf_counter(), process_time()
            operations = function()
            wall, cpu = perf_counter() - wall, process_time() - cpu
            if run:
                times[name]["cpu"].append(UNITS[unit](cpu / operations))
                times[name]["wall"].append(UNITS[unit](wall / operations))
    reference = times[next(iter(functions))]
    result = {}
    for name, clocks in times.items():
        result[name] = {}
        for clock, values in clocks.items():
            pairs = zip(values, reference[clock], strict=True)
            result[name][clock] = summary(values)
            result[name][f"{clock}_ratio"] = summary(value / other for value, other in pairs)
    print(f"\n{title}")
    heads = ["cpu median", "min", "max", "×", "wall median", "min", "×"]
    print(ROW.format(f"{unit}, {runs} runs in turn", *heads))
    for name, figures in result.items():
        numbers = [*figures["cpu"].values(), figures["cpu_ratio"]["median"]]
        wall = figures["wall"]
        numbers += [wall["median"], wall["min"], figures["wall_ratio"]["median"]]
        print(ROW.format(name, *map(legible, numbers)), flush=True)
    return {"unit": unit, "runs": runs, "figures": result}


def legible(number):
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def save(name, packages, results, engine="sqlite"):
    """Write ``results/<name>.json``: the results, the machine and the versions.

    The results of a server are added under the name of the engine, next to SQLite's results.
    """
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "system": platform.system(),
            "load_average": round(os.getloadavg()[0], 1),  # last minute; 1 is the benchmark
        },
        "versions": {
            "Python": platform.python_version(),
            **({"SQLite": sqlite3.sqlite_version} if engine == "sqlite" else {}),
            **packages,
        },
    }
    path = HERE / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if engine == "sqlite":
        servers = {other: known[other] for other in SERVERS if other in known}
        known = about | {"results": results} | servers
    else:
        known[engine] = about | server() | {"results": results}
    text = json.dumps(known, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"\nWritten: {path.relative_to(HERE.parent)}")


def server():
    """Return the server's version, and its setting for waiting for the disk."""
    from django.db import connection

    waits = {"postgresql": "SHOW fsync", "mysql": "SELECT @@innodb_flush_method"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        ((version,),) = cursor.fetchall()
        cursor.execute(waits[connection.vendor])
        ((disk,),) = cursor.fetchall()
    where = "on the same machine, over a socket"
    return {"server": {"version": version, waits[connection.vendor]: disk, "where": where}}


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
