import sqlite3
import time
from contextlib import closing

from django.core.management import BaseCommand

from replication import files
from replication.applier import connect_both, standing
from replication.files import NeedsSnapshot, ReplicationError
from replication.snapshot import connect_to_log

LINE = "{:<{}} {:>10} {:>10} {:>12}  {}"


class Command(BaseCommand):
    help = (
        "Show the state of each replica: up to which position it has applied the log, how many "
        "positions it is behind, and how long ago it was up to date. A replica is following while "
        "a process brings it up to date, otherwise it is stopped."
    )

    def handle(self, **options):
        self.width = max(10, *map(len, files.replicas()))
        self.line("database", "position", "behind", "up to date", "state")
        errors = []
        for alias, replicas in files.primaries().items():
            try:
                self.show(alias, replicas)
            except ReplicationError as error:  # other primaries are still shown
                errors.append(str(error))
        if errors:
            raise ReplicationError(" ".join(errors))

    def show(self, alias, replicas):
        primary = files.path_of(alias)
        with files.errors_name(primary), closing(connect_to_log(primary)) as connection:
            (last,) = connection.execute("SELECT max(position) FROM replication_log").fetchone()
        self.line(alias, last, "", "", "the primary")
        for replica in replicas:
            self.line(replica, *self.describe(primary, files.path_of(replica)))

    def line(self, alias, *rest):
        self.stdout.write(LINE.format(alias, self.width, *rest))

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
