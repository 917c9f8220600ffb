"""How the cost of sharding grows: the same rows in 1, 4, 8, 16 and 64 shards.

Run by ``make bench``, from the root of the project: ``python -m benchmarks.growth``, or with an
engine, as in ``python -m benchmarks.growth postgresql``. All shards are databases of one server.
Each query sleeps for 10 ms first: 5 ms to the server, and 5 ms back. A proxy would delay the
packets themselves, but it would also use the processors that the benchmark and the server share.
"""

import random
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, sleep

from benchmarks import SERVERS, copy_of, engine_named, save, summary, versions_of
from benchmarks.sharding import (
    PACKAGES,
    TOP,
    asking,
    execute,
    plain_models,
    set_up,
    shards,
    unrouted,
)

NUMBERS = [1, 4, 8, 16, 64]
ROUND_TRIP = 0.010  # seconds, for each query
CHANCE, SLOW = 0.01, 0.200  # one query in a hundred takes 200 ms more
MOST = 250  # connections that the benchmark opens: temporary servers accept 300


def named(number):
    return f"{number} shard{'s' * (number > 1)}"


def spread(values):
    """Return the summary of some numbers, and the value that 95 % of them do not exceed."""
    return summary(values) | {"p95": float(f"{quantiles(values, n=20)[-1]:.4g}")}


def timed(title, unit, questions, runs):
    """Time ``{name: (question, context manager)}`` in turn, after a round that does not count.

    Return for each name the time that passed, in ``unit`` (ms or µs), and its ratio to the first
    name in the same round. Entering the context is not timed.
    """
    times = {name: [] for name in questions}
    for run in range(1 + runs):
        for name, (question, context) in questions.items():
            with context():
                start = perf_counter()
                question()
                seconds = perf_counter() - start
            if run:
                times[name].append(seconds * {"ms": 1e3, "µs": 1e6}[unit])
    reference = next(iter(times.values()))
    figures = {}
    print(f"\n{title}, {unit}, {runs} runs in turn: median, 95 %, ratio")
    for name, values in times.items():
        ratios = [value / other for value, other in zip(values, reference, strict=True)]
        figures[name] = {"wall": spread(values), "wall_ratio": spread(ratios)}
        wall, ratio = figures[name]["wall"], figures[name]["wall_ratio"]
        print(f"  {name:<24}{wall['median']:>9}{wall['p95']:>9}{ratio['median']:>9}", flush=True)
    return {"unit": unit, "runs": runs, "figures": figures}


@contextmanager
def one_database():
    with unrouted(), asking(["default"], latency=ROUND_TRIP):
        yield


@contextmanager
def sometimes_slow(aliases):
    """Let some queries to these shards take longer, at random."""
    from django.db import connections

    def slow(execute, *arguments):
        if random.random() < CHANCE:
            sleep(SLOW)
        return execute(*arguments)

    with asking(aliases, threads=True, latency=ROUND_TRIP):
        for alias in aliases:
            connections[alias].execute_wrappers.append(slow)
        try:
            yield
        finally:
            for alias in aliases:
                connections[alias].execute_wrappers.remove(slow)


def measure_fan_out(engine, runs=41):
    """Time three questions to all shards, compared with one database, and with slow queries."""
    from django.db.models import Avg

    from customers.models import Order
    from sharding import gather

    plain, newest = plain_models().Order.objects, ("-created", "-pk")
    questions = {
        "count": (plain.count, lambda: gather.count(Order.objects.all())),
        "top": (
            lambda: list(plain.order_by(*newest)[:TOP]),
            lambda: gather.top(Order.objects.order_by(*newest), TOP),
        ),
        "aggregate": (
            lambda: plain.aggregate(mean=Avg("price")),
            lambda: gather.aggregate(Order.objects.all(), mean=Avg("price")),
        ),
    }
    results = {}
    for name, (in_one, in_all) in questions.items():
        asked = {
            named(number): (in_all, partial(asking, shards(number), True, ROUND_TRIP))
            for number in NUMBERS
        }
        results[name] = timed(name, "ms", {"one database": (in_one, one_database)} | asked, runs)
    _, count = questions["count"]
    asked = {named(number): (count, partial(sometimes_slow, shards(number))) for number in NUMBERS}
    results["slow"] = timed("count, of which 1 % are slow", "ms", asked, 2 * runs)
    return results


@contextmanager
def mapped(aliases):
    """Give each of these shards an equal run of buckets in the map, and read the map."""
    from sharding.buckets import Bucket, first_map, forget_map, shard_map

    with asking(aliases):
        groups = {}
        for number, alias in first_map():
            groups.setdefault(alias, []).append(number)
        buckets = Bucket.objects.using("default")
        for alias, numbers in groups.items():
            buckets.filter(number__range=(numbers[0], numbers[-1])).update(alias=alias)
            # Opens the connection. Also, the first query of a table in a connection takes longer.
            execute(alias, "SELECT * FROM customers_customer WHERE id = 0")
        forget_map()
        shard_map()
        yield


def measure_map(engine, runs=41):
    """Time reading the map, finding it within the lease, and a row by key. Without latency."""
    from django.conf import settings

    from customers.models import Customer
    from sharding.buckets import forget_map, read_map, shard_map

    keys = [key for (key,) in execute("default", "SELECT id FROM customers_customer")]
    plain = plain_models().Customer.objects
    cases = {named(number): partial(mapped, shards(number)) for number in NUMBERS}

    def get(objects=Customer.objects):
        objects.get(pk=random.choice(keys))

    def get_without_lease():
        forget_map()
        get()

    in_one = {"one database": (partial(get, plain), unrouted)}
    results = {}
    for ask, reference in [
        (read_map, {}),
        (shard_map, {}),
        (get, in_one),
        (get_without_lease, in_one),
    ]:
        questions = reference | {name: (ask, context) for name, context in cases.items()}
        results[ask.__name__] = timed(ask.__name__, "µs", questions, runs)
    with mapped(settings.SHARDS):
        return results


def measure_connections(engine):
    """Count the connections of a process, and measure the server's memory for each of them."""
    from django.db import connections

    from customers.models import Order
    from sharding import gather, scatter

    held, memory, opening = {}, {}, []

    def backends(number):
        sql = f"SELECT pid FROM pg_stat_activity WHERE datname LIKE '%\\_of\\_{number}'"
        return [pid for (pid,) in execute("default", sql)]

    def close(aliases):
        for alias in aliases:
            connections[alias].close()
            scatter.close(alias)

    for number in NUMBERS:
        close(shards(number))
    for number in NUMBERS:
        aliases = shards(number)
        for threads, also in [(1, False), (4, False), (1, True), (4, True)]:
            wanted = number * (1 + threads * also)
            if wanted > MOST:
                continue
            ready, end = threading.Barrier(threads + 1), threading.Event()

            def work(aliases=aliases, also=also, ready=ready, end=end):
                gather.count(Order.objects.all())
                for alias in aliases if also else []:
                    Order.objects.using(alias).first()
                ready.wait()
                end.wait()
                for alias in ["default", *aliases]:
                    connections[alias].close()

            with asking(aliases, threads=True):
                workers = [threading.Thread(target=work) for _ in range(threads)]
                for worker in workers:
                    worker.start()
                ready.wait()
                pids = backends(number)
                what = "fan-out and each shard" if also else "fan-out"
                name = f"{named(number)}, {threads} thread{'s' * (threads > 1)}, {what}"
                held[name] = summary([len(pids)])
                memory.setdefault(named(number), summary(map(private_memory, pids)))
                end.set()
                for worker in workers:
                    worker.join()
                close(aliases)
                print(f"  {name}: {len(pids)} connections", flush=True)
                while backends(number):
                    sleep(0.05)
    for _ in range(61):
        start = perf_counter()
        connections["0_of_1"].ensure_connection()
        opening.append((perf_counter() - start) * 1e3)
        connections["0_of_1"].close()
    print(f"  {memory} MB; opened in {median(opening):.3g} ms", flush=True)
    return {
        "connections": {"unit": "connections", "runs": 1, "figures": held},
        "memory": {"unit": "MB", "runs": 1, "figures": memory},
        "opening": {"unit": "ms", "runs": 61, "figures": {"a connection": spread(opening[1:])}},
    }


def private_memory(pid):
    """Return the megabytes that only this process uses, without memory that servers share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e3


def measure_move(engine):
    """Time a move of one bucket, and of the part for an added shard, while a thread writes.

    The shop has four shards. For n shards, one more takes 1/(n+1) of all buckets, from each of the
    first three, because the source of a bucket does not change the time of its move.
    """
    from django.conf import settings
    from django.db import connections

    from customers.models import Customer
    from sharding.buckets import forget_map, read_map
    from sharding.keys import BUCKETS, bucket_of
    from sharding.reshard import reshard

    keys = {}
    for (key,) in execute("default", "SELECT id FROM customers_customer"):
        keys.setdefault(bucket_of(key), key)
    seconds, rates, waits = {}, {}, {}
    parts = {"one bucket": (1, 0.0), "one bucket, with latency": (1, ROUND_TRIP)} | {
        named(number): (BUCKETS // (number + 1), 0.0) for number in NUMBERS[1:]
    }
    *sources, target = settings.SHARDS
    for name, (size, latency) in parts.items():
        found, buckets = read_map(), []
        for step in range(BUCKETS):
            alias = sources[step % len(sources)]
            free = [number for number in found.buckets(alias) if number not in buckets]
            if free and len(buckets) < size:
                buckets.append(free[0])
        key = next(keys[number] for number in buckets if number in keys)
        took, end = [], threading.Event()

        def write(key=key, took=took, end=end):
            while not end.is_set():
                start = perf_counter()
                Customer.objects.filter(pk=key).update(name="Ada Mudge")
                took.append((perf_counter() - start) * 1e3)
                sleep(0.001)
            connections.close_all()

        forget_map()
        writer = threading.Thread(target=write)
        writer.start()
        with asking(settings.SHARDS, latency=latency):
            start = perf_counter()
            moved, rows = reshard(sorted(buckets), target)
            passed = perf_counter() - start
        end.set()
        writer.join()
        assert moved == size
        seconds[name], rates[name] = summary([passed]), summary([rows / passed])
        waits[name] = summary(took) | {"median": float(f"{max(took):.4g}")}
        print(
            f"  {name}: {moved} buckets, {rows} rows, {passed:.1f} s, a write waited at most "
            f"{max(took):.0f} ms, usually {median(took):.1f}",
            flush=True,
        )
        for alias in sources:  # back
            back = [number for number in buckets if found.aliases[number] == alias]
            if back:
                reshard(back, alias)
    return {
        "move": {"unit": "s", "runs": 1, "figures": seconds},
        "move_rate": {"unit": "rows/s", "runs": 1, "figures": rates},
        "longest_wait": {"unit": "ms", "runs": 1, "figures": waits},
    }


def main():
    random.seed(0)
    engine = engine_named()
    packages = versions_of([*PACKAGES, *([SERVERS[engine][1]] if engine != "sqlite" else [])])
    measured = [measure_fan_out, measure_map, measure_move]
    if engine == "postgresql":
        measured.append(measure_connections)  # last, because it closes connections
    with copy_of("sharding"):
        set_up(engine, NUMBERS)
        results = {}
        for measure in measured:
            results |= measure(engine)
        save("growth", packages, results, engine)


if __name__ == "__main__":
    main()
