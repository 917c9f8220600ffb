"""Threads and asyncio's tasks write and read, while replicas lag, fail and start again.

No worker may read a state that is older than its own write, or get an error. With ``STRESS=1``, the
tests run longer.
"""

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from random import Random
from threading import Event
from time import monotonic, sleep

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, connections, transaction

from products.models import Product
from replicas import reading
from replication import files, snapshot
from replication.applier import Applier
from tests.servers import free_ports
from tests.shops import Files

LONG = "STRESS" in os.environ
OPERATIONS = 20_000 if LONG else 2_000  # writes and reads, by threads and tasks together
DEATHS = 4  # the smallest number of failures of replicas
WORKERS = 4  # the number of threads, and of tasks


class Chaos:
    """Lets replicas lag for random times, makes them fail, and starts them again."""

    def __init__(self, shop, seed):
        self.shop = shop
        self.random = Random(seed)
        self.stop = Event()
        self.deaths = 0
        self.prepare()

    def run(self):
        try:
            while not self.stop.is_set():
                self.applying()
        finally:
            self.stop.set()

    def goes_on(self):
        return self.deaths < DEATHS and not self.stop.is_set()

    def victims(self):
        """Return the replicas that fail next: usually one, sometimes both."""
        return self.random.sample(["replica1", "replica2"], self.random.choice([1, 1, 2]))


class ChaosOfFiles(Chaos):
    """Applies the log, deletes or damages replicas, and creates them again."""

    def prepare(self):
        with connections["default"].cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
        for replica in files.replicas().values():
            snapshot.take(files.path_of("default"), replica)

    def applying(self):
        """Apply the log for a while. Then make replicas fail, and create them again."""
        primary, replicas = files.path_of("default"), files.replicas()
        with ExitStack() as stack:
            appliers = [
                stack.enter_context(
                    closing(Applier(primary, replica, self.random.uniform(0, 0.02)))
                )
                for replica in replicas.values()
            ]
            end = monotonic() + self.random.uniform(0.1, 0.6)
            while monotonic() < end and not self.stop.is_set():
                self.random.choice(appliers).step()
                sleep(self.random.uniform(0, 0.01))
        victims = [replicas[alias] for alias in self.victims()]
        for replica in victims:
            self.random.choice([self.removed, self.overwritten, self.scribbled, self.emptied])(
                replica
            )
            self.deaths += 1
        self.stop.wait(self.random.uniform(0, 0.2))
        for replica in victims:
            snapshot.take(primary, replica)

    def removed(self, replica):
        for suffix in ("", "-wal", "-shm"):
            replica.with_name(replica.name + suffix).unlink(missing_ok=True)

    def overwritten(self, replica):
        self.removed(replica)
        replica.write_bytes(b"The cuckoo has nested here." * 1000)

    def scribbled(self, replica):
        """Overwrite the start of the file, which other connections have open."""
        with replica.open("r+b") as file:
            file.write(b"The cuckoo has nested here." * 10)

    def emptied(self, replica):
        """Drop a table, so that the position can be read, and the rows cannot."""
        with closing(sqlite3.connect(replica, timeout=10)) as connection:
            connection.execute("DROP TABLE products_product")


class ChaosOfServers(Chaos):
    """Pauses and resumes replicas, kills them with SIGKILL, and starts them again."""

    def prepare(self):
        for alias in "replica1", "replica2":
            self.shop.servers.resume(self.shop.names[alias])

    def applying(self):
        servers, names = self.shop.servers, self.shop.names
        end = monotonic() + self.random.uniform(0.5, 3)
        while monotonic() < end and not self.stop.is_set():
            name = names[self.random.choice(["replica1", "replica2"])]
            self.stop.wait(self.random.uniform(0, 0.3))
            servers.pause(name)
            self.stop.wait(self.random.uniform(0, 0.1))
            servers.resume(name)
        victims = [names[alias] for alias in self.victims()]
        for name in victims:
            servers.kill(name)
            self.deaths += 1
        self.stop.wait(self.random.uniform(0, 0.2))
        servers.start(*victims)


def chaos_of(shop, seed):
    return (ChaosOfFiles if isinstance(shop, Files) else ChaosOfServers)(shop, seed)


class Worker:
    """Increments the number in the name of its product, and reads it, each in several ways."""

    def __init__(self, number, seed):
        self.random = Random(f"{seed} {number}")
        self.pk = Product.objects.create(name="0", description="", price=1).pk
        self.written = 0
        self.positions = {}
        self.seen = Counter()

    def pause(self):
        return self.random.uniform(0, 0.03)

    def request(self):
        """Read and write several times, as one request does. Return how many times."""
        operations = self.random.randint(1, 6)
        with reading.scope(self.positions) as scope:
            for _ in range(operations):
                self.operate()
            if scope["default"].last_write:
                self.positions = {"default": scope["default"].take_position()}
        return operations

    def operate(self):
        if self.random.random() < 0.8:
            self.read()
        else:
            self.write()

    def write(self):
        self.written += 1
        rows = Product.objects.filter(pk=self.pk)
        way = self.random.randrange(3)
        if way == 0:
            rows.update(name=str(self.written))
        elif way == 1:
            product = rows.get()
            product.name = str(self.written)
            product.save()
        else:
            with transaction.atomic():
                rows.update(name=str(self.written))
                self.read()

    def read(self):
        rows = Product.objects.filter(pk=self.pk)
        found = self.iterate(rows) if self.random.random() < 0.5 else None
        (product,) = rows.all() if found is None else found
        assert int(product.name) == self.written, (product._state.db, product.name, self.written)
        self.seen[product._state.db] += 1
        if self.random.random() < 0.1:
            self.look_without_a_position()

    def iterate(self, rows):
        """Return the rows, or None if the replica failed between the query and the fetch.

        Then the iterator raises a DatabaseError. If closing it fails, the error is the driver's.
        """
        try:
            return list(rows.iterator(chunk_size=1))
        except (DatabaseError, connections["default"].Database.Error):
            self.seen["broken iterator"] += 1

    def look_without_a_position(self):
        """Count what a router without positions would have read now, as a control."""
        alias = self.random.choice(["replica1", "replica2"])
        rows = Product.objects.using(alias).filter(pk=self.pk)
        with suppress(DatabaseError):
            stale = [row.name for row in rows] != [str(self.written)]
            self.seen["control, stale" if stale else "control"] += 1

    async def request_in_a_task(self):
        """Do the same as ``request()``. Each operation may run in a separate thread."""
        operations = self.random.randint(1, 6)
        with reading.scope(self.positions) as scope:
            for _ in range(operations):
                own_thread = self.random.random() < 0.3
                await sync_to_async(
                    lambda own=own_thread: self.operate_and_close() if own else self.operate(),
                    thread_sensitive=not own_thread,
                )()
            if scope["default"].last_write:
                position = await sync_to_async(scope["default"].take_position)()
                self.positions = {"default": position}
        return operations

    def operate_and_close(self):
        self.operate()
        connections.close_all()


@pytest.mark.parametrize("seed", range(3 if LONG else 1))
def test_nobody_sees_a_stale_state_of_their_own_or_an_error(shop, settings, caplog, seed):
    settings.REPLICA_RETRY = 0.05
    threads = [Worker(n, seed) for n in range(WORKERS)]
    tasks = [Worker(n + WORKERS, seed) for n in range(WORKERS)]
    each = OPERATIONS // (2 * WORKERS)

    def work(worker):
        done = 0
        try:
            while done < each or chaos.goes_on():
                done += worker.request()
                sleep(worker.pause())
                if worker.random.random() < 0.05:
                    connections.close_all()  # as Django does at the end of a request
        finally:
            connections.close_all()
        return done

    async def work_in_a_task(worker):
        done = 0
        while done < each or chaos.goes_on():
            done += await worker.request_in_a_task()
            await asyncio.sleep(worker.pause())
        return done

    async def work_in_tasks():
        try:
            return await asyncio.gather(*map(work_in_a_task, tasks))
        finally:
            await sync_to_async(connections.close_all)()

    chaos = chaos_of(shop, seed)
    with ThreadPoolExecutor(WORKERS + 2) as pool:
        chaotic = pool.submit(chaos.run)
        try:
            working = [pool.submit(work, worker) for worker in threads]
            working_in_tasks = pool.submit(asyncio.run, work_in_tasks())
            done = sum(future.result() for future in working) + sum(working_in_tasks.result())
        finally:
            chaos.stop.set()
        chaotic.result()

    seen = sum((worker.seen for worker in threads + tasks), Counter())
    print(f"{done} operations, read from {dict(seen)}, {chaos.deaths} deaths of replicas")
    assert done >= OPERATIONS and chaos.deaths >= DEATHS
    # Both replicas answered queries, and the control shows that some replicas were stale.
    assert min(seen["replica1"], seen["replica2"]) > seen.total() / 100
    assert seen["control, stale"]
    assert any("is not read from" in message for message in caplog.messages)


PAIRS = 20_000 if LONG else 400  # each is a POST and a GET

SETTINGS = """
from {module} import *

DATABASES = {databases!r}
REPLICA_RETRY = 0.05
ROOT_URLCONF = "stress_site"
ALLOWED_HOSTS = ["*"]
"""

VIEWS = """
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from products.models import Product


@csrf_exempt
def product(request, pk):
    if request.method == "POST":
        Product.objects.filter(pk=pk).update(name=request.POST["name"])
    product = Product.objects.filter(pk=pk).first() or Product(name="-1")
    return HttpResponse(f"{product.name} {product._state.db}")


urlpatterns = [path("<int:pk>/", product)]
"""


@pytest.fixture
def processes(shop, tmp_path):
    """Start two processes that serve the databases of ``shop`` by HTTP. Yield their ports."""
    keys = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
    databases = {
        alias: {key: entry[key] for key in keys} | {"TEST": {"MIRROR": entry["TEST"]["MIRROR"]}}
        for alias, entry in ((alias, connections[alias].settings_dict) for alias in connections)
    }
    (tmp_path / "stress_settings.py").write_text(
        SETTINGS.format(module=settings.SETTINGS_MODULE, databases=databases)
    )
    (tmp_path / "stress_site.py").write_text(VIEWS)
    path = os.pathsep.join([str(tmp_path), str(settings.BASE_DIR)])
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "stress_settings", "PYTHONPATH": path}
    ports = free_ports(2)
    started = []
    try:
        for port in ports:
            command = [sys.executable, "-m", "django", "runserver", "--noreload", "--skip-checks"]
            started.append(
                subprocess.Popen(
                    [*command, f"127.0.0.1:{port}"],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        for port in ports:
            end = monotonic() + 30
            while monotonic() < end:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                sleep(0.05)
        yield ports
    finally:
        for process in started:
            process.terminate()
            process.wait(20)


def test_nor_does_a_browser_that_two_processes_serve(shop, processes):
    chaos = chaos_of(shop, "http")
    seen = Counter()

    def browse(number):
        pk = Product.objects.create(name="0", description="", price=1).pk
        connections.close_all()
        random, headers = Random(number), {}

        def ask(method, body=None):
            server = HTTPConnection("127.0.0.1", random.choice(processes), timeout=30)
            with closing(server):
                form = {"Content-Type": "application/x-www-form-urlencoded"}
                server.request(method, f"/{pk}/", body, headers | form)
                answer = server.getresponse()
                text = answer.read().decode()
                assert answer.status == 200, text
                if position := answer.headers["Position-default"]:
                    headers["Position-default"] = position
                return text.split()

        done, end = 0, monotonic() + 60
        while (
            done < PAIRS / WORKERS
            or chaos.goes_on()
            or (not seen["control, stale"] and monotonic() < end)
        ):
            ask("POST", f"name={done}")
            # The control: a GET without a position.
            if random.random() < 0.1:
                kept = headers.copy()
                headers.clear()
                seen["control, stale" if int(ask("GET")[0]) != done else "control"] += 1
                headers.update(kept)
            name, alias = ask("GET")
            assert int(name) == done, (alias, name, done)
            seen[alias] += 1
            done += 1
        return done

    with ThreadPoolExecutor(WORKERS + 1) as pool:
        chaotic = pool.submit(chaos.run)
        try:
            done = sum(pool.map(browse, range(WORKERS)))
        finally:
            chaos.stop.set()
        chaotic.result()
    print(f"{done} pairs by HTTP, read from {dict(seen)}, {chaos.deaths} deaths of replicas")
    assert done >= PAIRS and chaos.deaths >= DEATHS
    assert seen["replica1"] + seen["replica2"] and seen["control, stale"]
