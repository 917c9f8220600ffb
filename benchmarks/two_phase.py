"""The cost of two-phase commit, compared with two plain transactions, and with an outbox.

Run by ``make bench``, from the root of the project, with an engine, as in
``python -m benchmarks.two_phase postgresql``. The code is that of the page about two-phase commit.
"""

import re
import sys
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

from benchmarks import (
    HERE,
    SERVERS,
    compare,
    copy_of,
    create_databases,
    engine_named,
    save,
    start_django,
    versions_of,
)
from livedocs import servers

PAGE = HERE.parent / "docs/patterns/two-phase-commit.rst"
CAPTIONED = re.compile(r"^\.\. code-block:: python\n   :caption: (\S+)\n\n((?:   .*\n|\n)+)", re.M)
# With these options, the server waits until a COMMIT is on the disk.
WAITS = {
    "postgresql": ["-c", "fsync=on", "-c", "full_page_writes=on"],
    "mariadb": ["--innodb-flush-method=fsync"],
}
RUNS = 100
TIMES = 10  # transactions in each run
NUMBERS = cycle(range(1000))
RECEIVER = """
from reviews.models import Review


def receive(message):
    Review.objects.filter(pk=message.key).update(text=message.body["number"])
"""


def write_files_of_page():
    """Write the files that the page shows into the current folder, and the outbox's receiver."""
    for path, text in CAPTIONED.findall(PAGE.read_text()):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(dedent(text))
    Path("receiver.py").write_text(RECEIVER)


@contextmanager
def waiting_server(engine):
    """Start a server that waits for the disk. Yield how to reach it, as in ``DATABASES``."""
    with TemporaryDirectory(prefix="waits", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        kind = servers.SERVERS[engine](servers.find(engine), folder)
        kind, user = servers.owned(kind, folder)
        kind.run += WAITS[engine]
        with (folder / "log").open("w") as log:
            process = servers.start(kind, user, folder, log)
            try:
                yield kind.address
            finally:
                process.send_signal(kind.stop)
                process.wait()


def set_up(aliases, addresses):
    """Use the servers at these addresses: make the databases, with a product and its review."""
    from django.core.management import call_command
    from django.db import connections

    from products.models import Product
    from reviews.models import Review

    for alias in aliases:
        connections[alias].close()
        connections[alias].settings_dict.update(addresses[alias])
    create_databases(aliases)
    call_command("makemigrations", "shop", verbosity=0)
    call_command("migrate", verbosity=0)
    for app in ["reviews", "outbox"]:
        call_command("migrate", app, database="reviews", verbosity=0)
    Product.objects.create(name="Atomic clock", description="Almost.", price=500)
    Review.objects.create(product_id=1, author_id=1, rating=5, text="Indivisible.")


def candidates():
    """Return functions that each do `TIMES` transactions."""
    from django.db import transaction
    from shop.number import write
    from shop.two_phase import two_phase

    from outbox.delivery import deliver
    from outbox.sending import send
    from products.models import Product

    def two_commits():
        for _ in range(TIMES):
            with transaction.atomic(using="reviews"), transaction.atomic():
                write(next(NUMBERS))
        return TIMES

    def two_phases():
        for _ in range(TIMES):
            with two_phase():
                write(next(NUMBERS))
        return TIMES

    def outbox():
        for _ in range(TIMES):
            with transaction.atomic():
                number = next(NUMBERS)
                Product.objects.filter(pk=1).update(price=number)
                send("numbers", key=1, body={"number": number}, using="default")
        return TIMES

    def outbox_and_worker():
        return outbox() and deliver()

    return {
        "two COMMITs": two_commits,
        "two-phase commit": two_phases,
        "outbox": outbox,
        "outbox and its worker": outbox_and_worker,
    }


def prepare(name):
    """Deliver the messages of the run before, and delete the decisions."""
    from django.core.management import call_command

    from outbox.delivery import deliver

    deliver()
    call_command("recover")


def main():
    engine = engine_named()
    if engine == "sqlite":
        sys.exit(f"SQLite has no two-phase commit. The engine must be {' or '.join(SERVERS)}.")
    packages = versions_of(["Django", SERVERS[engine][1]])
    with copy_of("functional"):
        write_files_of_page()
        from shop.with_orders import DATABASE_ROUTERS, INSTALLED_APPS

        start_django(
            engine,
            databases={alias: {"NAME": alias} for alias in ["default", "reviews"]},
            INSTALLED_APPS=INSTALLED_APPS,
            DATABASE_ROUTERS=DATABASE_ROUTERS,
            OUTBOX_SOURCES=["default"],
            OUTBOX_RECEIVERS={"numbers": ("reviews", "receiver.receive")},
        )
        from django.db import connections

        given = {alias: dict(connections[alias].settings_dict) for alias in connections}
        results = {}
        with waiting_server(engine) as address:
            set_up(connections, dict.fromkeys(connections, address))
            results["on_disk"] = compare(
                "A transaction, on the disk", "ms", candidates(), RUNS, prepare
            )
        set_up(connections, given)
        results["transaction"] = compare("A transaction", "ms", candidates(), RUNS, prepare)
        save("two_phase", packages, results, engine)


if __name__ == "__main__":
    main()
