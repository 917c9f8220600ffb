"""Keys: never the same one twice, whatever clocks and processes do."""

import multiprocessing
import os
import random
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings

from sharding import keys
from sharding.keys import (
    BUCKETS,
    EPOCH,
    KEY_BITS,
    NoKeys,
    bucket_of,
    claim,
    keys_of,
    new_key,
    new_keys,
    when,
)

STRESS = bool(os.environ.get("STRESS"))
PROCESSES = 8
EACH = 1_250_000 if STRESS else 25_000


@pytest.fixture
def folder(tmp_path, settings):
    settings.KEY_WORKERS_DIR = tmp_path / "workers"
    settings.KEY_WORKERS = range(3)
    return settings.KEY_WORKERS_DIR


def let_go(worker):
    """What the operating system does when a process dies."""
    worker._file.close()


def test_a_key_tells_its_bucket_and_its_time(folder):
    worker, before = claim(), datetime.now(UTC)
    for bucket in (0, 1, BUCKETS - 1):
        (key,) = worker.keys(bucket, 1)
        first, last = keys_of(bucket)
        assert bucket_of(key) == bucket and first <= key <= last < 1 << KEY_BITS
        assert timedelta(seconds=-0.1) < when(key) - before < timedelta(seconds=5)


def test_new_keys_are_in_any_bucket():
    assert len({bucket_of(new_key()) for _ in range(500)}) > 250


def test_keys_of_a_bucket_ascend(folder):
    worker = claim()
    made = [key for _ in range(50) for key in worker.keys(7, 3)]
    assert made == sorted(set(made)) and len(made) == 150
    assert len(worker.keys(7, 0)) == 0


def test_a_clock_that_steps_back(folder, monkeypatch):
    worker = claim()
    before = worker.keys(5, 1)[0]
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 3600)
    assert worker.keys(5, 1)[0] > before
    # And in a process that is started after it has stepped back.
    let_go(worker)
    again = claim()
    assert again.number == worker.number
    assert again.keys(5, 1)[0] > before


def test_a_clock_that_stands_at_1970(folder, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 0.0)
    worker = claim()
    assert bucket_of(worker.keys(9, 5)[-1]) == 9


def test_keys_in_great_haste_are_not_given_again_by_the_next_process(folder):
    """They have run ahead of the clock: the note in the file says how far."""
    worker = claim()
    last = worker.keys(5, 10_000)[-1]
    let_go(worker)
    assert claim().keys(5, 1)[0] > last


def test_a_clock_that_is_past_the_end(folder, monkeypatch):
    end = EPOCH.timestamp() + 2**35 / 32
    monkeypatch.setattr("time.time", lambda: end)
    with pytest.raises(NoKeys, match="No keys can be made after 2060. Check the clock"):
        claim().keys(5, 1)


def test_each_worker_has_a_number_of_its_own(folder):
    workers = [claim() for _ in range(3)]
    assert [worker.number for worker in workers] == [0, 1, 2]
    with pytest.raises(NoKeys, match="Other processes use all 3 numbers of KEY_WORKERS"):
        claim()
    let_go(workers[1])
    assert claim().number == 1


def test_a_number_that_does_not_fit(folder, settings):
    settings.KEY_WORKERS = range(256, 257)
    with pytest.raises(NoKeys, match="KEY_WORKERS has 256. The highest number is 255"):
        claim()


def test_two_processes_in_one_tick(folder, monkeypatch):
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)
    assert not set(claim().keys(5, 100)) & set(claim().keys(5, 100))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_a_forked_child_takes_another_number():
    mine = new_key(5)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, str(new_key(5)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    theirs = int(os.read(reading, 100))
    assert theirs & 0xFF != mine & 0xFF
    assert new_key(5) & 0xFF == mine & 0xFF  # which the child's end has not taken from us


def make_keys(folder, count, start, file):
    settings.KEY_WORKERS_DIR = folder
    start.wait()
    made = array("q")
    while len(made) < count:
        # As they come: one, some, many at once in one bucket.
        made.extend(new_keys(random.randrange(BUCKETS), random.choice([1, 1, 1, 20])))
    with open(file, "wb") as out:
        made[:count].tofile(out)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_processes_at_once_make_no_key_twice(tmp_path):
    """Eight processes; with STRESS=1, ten million keys."""
    context = multiprocessing.get_context("fork")
    start = context.Event()
    files = [tmp_path / f"keys{n}" for n in range(PROCESSES)]
    processes = [
        context.Process(target=make_keys, args=(tmp_path / "workers", EACH, start, file))
        for file in files
    ]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
    made = array("q")
    for file in files:
        with open(file, "rb") as source:
            made.fromfile(source, EACH)
    assert len(made) == PROCESSES * EACH
    assert len({key & 0xFF for key in made[::EACH]}) == PROCESSES
    assert max(made) < 1 << KEY_BITS
    ordered = sorted(made)
    assert all(a != b for a, b in zip(ordered, ordered[1:], strict=False))


def test_threads_at_once_make_no_key_twice():
    with ThreadPoolExecutor(8) as threads:
        parts = threads.map(lambda _: {new_key(5) for _ in range(500)}, range(8))
    assert len(set.union(*parts)) == 4000


def test_the_worker_is_claimed_when_the_first_key_is_needed(folder, monkeypatch):
    monkeypatch.setattr(keys, "_process", keys._Process())
    assert not folder.exists()
    new_key()
    assert [file.name for file in folder.iterdir()] == ["0"]
