import sqlite3
import time
from contextlib import closing

from django.core.management import BaseCommand
from django.db import DEFAULT_DB_ALIAS

from replication import files
from replication.applier import connect_both, standing
from replication.files import NeedsSnapshot
from replication.snapshot import connect_to_log

LINE = "{:<10} {:>10} {:>10} {:>12}  {}"


class Command(BaseCommand):
    help = (
        "Show how far each replica is: the position in the log that it has applied, how many "
        "positions it is behind, how long ago it was known to be up to date, and its state. A "
        "replica is following when a process brings it up to date, and else stopped."
    )

    def handle(self, **options):
        primary, replicas = files.primary(), files.replicas()
        with files.errors_name(primary), closing(connect_to_log(primary)) as connection:
            (last,) = connection.execute("SELECT max(position) FROM replication_log").fetchone()
        self.stdout.write(LINE.format("database", "position", "behind", "up to date", "state"))
        self.stdout.write(LINE.format(DEFAULT_DB_ALIAS, last, "", "", "the primary"))
        for alias, path in replicas.items():
            self.stdout.write(LINE.format(alias, *self.describe(primary, path)))

    def describe(self, primary, replica):
        try:
            with closing(connect_both(primary, replica, "ro")) as connection:
                position, caught_up_at, last = standing(connection)
        except NeedsSnapshot as error:
            return "", "", "", f"{error}: needs a snapshot"
        except sqlite3.Error as error:
            return "", "", "", error
        state = "following" if files.is_held(replica) else "stopped"
        return position, last - position, f"{time.time() - caught_up_at:.1f} s ago", state
