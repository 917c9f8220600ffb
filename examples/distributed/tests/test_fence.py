"""A bucket that moves away from the coordinator: the fence is there, and the rows are on a node."""

import os
import signal
import threading
from contextlib import closing, contextmanager

import pytest
from django.db import connection, transaction

from conftest import key_on, needs_servers
from customers.models import Customer
from sharding.fences.models import HeldBucket
from sharding.keys import bucket_of
from sharding.reshard import copied_rows
from sharding.writing import hold

pytestmark = [needs_servers, pytest.mark.django_db(databases="__all__", transaction=True)]


@contextmanager
def stalled(servers, name):
    """Let a node commit nothing. With MariaDB, the node still answers other statements."""
    if connection.vendor == "mysql":
        with closing(servers.connect(name)) as node, closing(node.cursor()) as cursor:
            cursor.execute("FLUSH TABLES WITH READ LOCK")
            yield
        return
    sql = "SELECT pid FROM pg_stat_activity WHERE usename = 'shop'"  # a process each connection
    pids = [pid for (pid,) in servers.sql(name, sql)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("first", ["reads", "locks"])
def test_a_move_waits_for_the_commit_on_the_node(servers, settings, first):
    """Otherwise a row that is acknowledged a moment later would not be copied, and then deleted.

    PostgreSQL commits on the nodes before it releases the lock of the bucket. MariaDB commits in
    the order of the first use, backwards: if Spider was used first, the lock is released before.
    """
    key = key_on("node1")
    number = bucket_of(key)
    HeldBucket.objects.create(number=number)
    written, go_on, found, errors = threading.Event(), threading.Event(), [], []

    def write():
        try:
            with transaction.atomic():
                if first == "reads":
                    assert not Customer.objects.filter(pk=key).exists()
                settings.SHARDS = ["default"]  # otherwise hold() does nothing
                assert hold([number], "default")
                settings.SHARDS = []
                Customer.objects.bulk_create([Customer(pk=key, name="Ada", email="a@x.example")])
                written.set()
                assert go_on.wait(20)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    def move():
        try:
            HeldBucket.objects.filter(pk=number).delete()
            found.extend(row for rows in copied_rows(Customer, [number], "default") for row in rows)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    writer, mover = threading.Thread(target=write), threading.Thread(target=move)
    writer.start()
    assert written.wait(10), errors
    with stalled(servers, "node1"):
        go_on.set()
        writer.join(0.5)
        mover.start()
        mover.join(1.5)
        waiting = writer.is_alive(), mover.is_alive()
    writer.join()
    mover.join()
    assert errors == []
    assert waiting == (True, True)
    assert [row[:2] for row in found] == [(key, "Ada")]
