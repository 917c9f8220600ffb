"""Scopes and demands in threads, in asyncio's tasks, and in code that uses both."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from threading import Event, Thread

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError, connections, transaction
from django.db.models import F

from products.models import Product
from replicas import reading
from tests.shops import place, position_class

REPLICAS = {"replica1", "replica2"}


@pytest.fixture(autouse=True)
def choose_each_time(monkeypatch):
    monkeypatch.setattr(reading, "CHOICE", 0)


def write():
    Product.objects.create(name="Egg timer", description="", price=3)


def in_thread(function):
    """Return what ``function`` returns in a new thread, which has an empty context."""

    def run():
        try:
            return function()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result(timeout=20)


def in_event_loop(coroutine):
    """Return what ``coroutine`` returns, and leave no connection open in asgiref's thread."""

    async def run():
        try:
            return await coroutine
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(run())


def test_outside_any_scope_reads_go_to_the_primary(shop):
    assert reading.database() == "default"
    with reading.scope():
        assert reading.database() in REPLICAS
        assert in_thread(reading.database) == "default"
    assert reading.database() == "default"


def test_after_a_write_reads_go_to_the_primary_until_a_replica_has_it(shop):
    with reading.scope():
        before = reading.database()
        (other,) = REPLICAS - {before}
        write()
        assert reading.database() == "default"
        shop.replicate(other)
        assert reading.database() == other
        shop.replicate(before)
        assert reading.database() == other  # the choice does not change back
        assert Product.objects.count() == 2


def test_a_read_pins_nothing(shop):
    with reading.scope() as scope:
        list(Product.objects.using("default"))
        with transaction.atomic():
            list(Product.objects.all())
        assert scope["default"].last_write is None
    with reading.scope(scope.positions()):
        assert reading.database() in REPLICAS


def test_a_write_that_is_rolled_back_is_nothing_to_wait_for_long(shop):
    with reading.scope():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            write()
            raise ZeroDivisionError
        assert reading.database() in REPLICAS


def test_the_position_is_taken_after_the_commit(shop):
    """Another thread of the scope may read the position before the COMMIT."""
    with reading.scope() as scope:
        context = copy_context()
        with transaction.atomic():
            write()
            early = in_thread(lambda: context.run(scope["default"].position))
        shop_has = scope["default"].position()
        assert place(shop_has) > place(early)
        assert reading.database() == "default"


def test_a_task_that_is_given_the_position_sees_what_the_request_wrote(shop):
    with reading.scope() as scope:
        write()
        positions = scope.positions()

    def task():
        with reading.scope(positions):
            return Product.objects.count(), Product.objects.db

    assert in_thread(task) == (2, "default")
    shop.replicate("replica2")
    assert in_thread(task) == (2, "replica2")


def test_what_a_scope_within_a_scope_writes_the_outer_one_sees_and_the_reverse(shop):
    """For example, a task that runs at once, in the request that started it."""

    @reading.scope()
    def task():
        seen = Product.objects.count()
        write()
        return seen

    with reading.scope() as scope:
        assert task() == 1
        assert scope["default"].last_write
        assert Product.objects.count() == 2
        write()
        with reading.use_primary():
            assert task() == 3
        assert Product.objects.count() == 4
    with reading.scope():
        assert Product.objects.count() == 1


@pytest.mark.parametrize("wrote", [False, True])
def test_a_scope_within_a_scope_waits_for_the_positions_of_both(shop, wrote):
    def position():
        with reading.scope() as scope:
            write()
            return scope.positions()

    first = position()
    shop.replicate("replica1")
    second = position()
    for outer, inner in [(first, second), (second, first), (second, {}), ({}, second)]:
        with reading.scope(outer) as scope:
            if wrote and outer:
                scope["default"].note_write()
                assert reading.database() == "default"
            with reading.scope(inner):
                assert reading.database() == "default"
                assert place(scope.positions()["default"]) >= place(second["default"])
    with reading.scope(first), reading.scope(first):
        assert reading.database() == "replica1"


def write_past_django():
    """Write without Django's cursors, as code does that uses the driver's connection."""
    connections["default"].ensure_connection()
    cursor = connections["default"].connection.cursor()
    cursor.execute("UPDATE products_product SET name = 'Overwound'")


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_write_that_django_does_not_see_is_noted_by_hand(shop, autocommit):
    reading.note_write()  # outside any scope: no effect
    with reading.scope() as scope:
        with nullcontext() if autocommit else transaction.atomic():
            write_past_django()
            reading.note_write()
            reading.note_write("replica1")  # not a primary: no effect
            early = None if autocommit else in_thread(scope["default"].take_position)
        assert Product.objects.get().name == "Overwound"
        assert autocommit or place(scope["default"].position()) > place(early)


def test_unnoted_writes(shop):
    @reading.unnoted()
    def count():
        Product.objects.update(price=F("price") + 1)

    with reading.scope() as scope:
        with reading.use_primary():
            count()
        with transaction.atomic(), reading.unnoted(), reading.scope():
            Product.objects.update(price=1)
        assert not scope["default"].last_write
        write()
        assert scope["default"].last_write


def test_what_is_read_after_a_transaction_is_of_its_state(shop):
    """For example in a template, after the view's transaction. One page must show one state."""
    with reading.scope():
        with transaction.atomic():
            assert Product.objects.db == "default"
        assert Product.objects.db == "default"
        with reading.allow_stale():
            assert Product.objects.db in REPLICAS
    with reading.scope(), reading.allow_stale():
        with transaction.atomic():
            assert Product.objects.db == "default"
        assert Product.objects.db in REPLICAS
    with reading.scope():
        assert Product.objects.db in REPLICAS


def test_generators_have_each_step_in_the_block_and_their_caller_none(shop):
    @reading.use_primary()
    def now():
        for _ in range(2):
            yield reading.database()

    @reading.scope()
    def task():
        yield reading.database()
        write()
        yield reading.database()

    @reading.use_primary()
    async def anow():
        for _ in range(2):
            yield await sync_to_async(reading.database)()

    async def collect():
        return [(alias, await sync_to_async(reading.database)()) async for alias in anow()]

    with reading.scope():
        pairs = [(alias, reading.database()) for alias in now()]
        assert [alias for alias, _ in pairs] == ["default"] * 2
        assert {outside for _, outside in pairs} < REPLICAS
    outside = []
    inside = [(alias, outside.append(reading.database()))[0] for alias in task()]
    assert inside[0] in REPLICAS and inside[1] == "default"
    assert outside == ["default"] * 2 and reading.current() is None

    async def request():
        with reading.scope():
            return await collect()

    pairs = in_event_loop(request())
    assert [alias for alias, _ in pairs] == ["default"] * 2
    assert {outside for _, outside in pairs} < REPLICAS


def test_a_primary_that_does_not_say_its_position_is_read_from(shop, monkeypatch, caplog):
    def fail(*arguments):
        raise OperationalError("the server closed the connection unexpectedly")

    with reading.scope() as scope:
        write()
        with monkeypatch.context() as patch:
            patch.setattr(position_class(), "written", fail)
            assert reading.database() == "default"
            positions = scope.positions()
        with reading.allow_stale():
            assert reading.database() in REPLICAS
    assert caplog.messages == [
        'The position of "default" cannot be read: the server closed the connection unexpectedly'
    ]
    shop.replicate()
    with reading.scope(positions) as scope:
        assert reading.database() == "default"
        assert scope.positions() == positions


def test_demands_nest_and_the_innermost_holds(shop):
    with reading.scope():
        write()
        with reading.allow_stale():
            assert reading.database() in REPLICAS
            with reading.use_primary():
                assert reading.database() == "default"
            assert reading.database() in REPLICAS
            with transaction.atomic():
                assert reading.database() == "default"
        assert reading.database() == "default"
        shop.replicate()
        assert reading.database() in REPLICAS
        with pytest.raises(ZeroDivisionError), reading.use_primary():
            assert reading.database() == "default"
            raise ZeroDivisionError
        assert reading.database() in REPLICAS


def test_a_stale_read_is_allowed_outside_a_scope_too(shop):
    with reading.allow_stale():
        alias = reading.database()
        assert alias in REPLICAS
        write()
        assert {reading.database() for _ in range(20)} == {alias}
        assert Product.objects.count() == 1


def test_a_write_under_a_demand_is_a_write_of_the_scope(shop):
    with reading.scope():
        with reading.use_primary():
            write()
        assert Product.objects.count() == 2


@pytest.mark.parametrize("block", [reading.use_primary, reading.allow_stale, reading.scope])
def test_each_decorates_functions_and_coroutine_functions(shop, block):
    @block()
    def sync(argument, *, keyword):
        """Docstring."""
        return reading.database(), argument, keyword

    @block()
    async def coroutine(argument, *, keyword):
        await asyncio.sleep(0)
        return await sync_to_async(reading.database)(), argument, keyword

    expected = {"default"} if block is reading.use_primary else REPLICAS
    with reading.scope():
        for _ in range(2):
            alias, *arguments = sync(1, keyword=2)
            assert alias in expected and arguments == [1, 2]
            alias, *arguments = async_to_sync(coroutine)(1, keyword=2)
            assert alias in expected and arguments == [1, 2]
    assert (sync.__name__, sync.__doc__) == ("sync", "Docstring.")
    assert reading.current() is None


def test_a_recursive_function_can_be_decorated(shop):
    @reading.allow_stale()
    def recurse(depth):
        if depth:
            recurse(depth - 1)
        return reading.database()

    assert recurse(2) in REPLICAS
    assert reading.current() is None


def test_tasks_of_one_scope_share_its_replica_and_its_writes(shop):
    async def task():
        return await sync_to_async(reading.database, thread_sensitive=False)()

    async def request():
        with reading.scope():
            replicas = set(await asyncio.gather(*[task() for _ in range(5)]))
            await sync_to_async(write)()
            return replicas, set(await asyncio.gather(*[task() for _ in range(5)]))

    replicas, after_the_write = in_event_loop(request())
    assert len(replicas) == 1 and replicas < REPLICAS
    assert after_the_write == {"default"}


def test_neither_a_write_nor_a_demand_leaks_to_another_task(shop):
    """The tasks alternate in one thread."""

    async def writer(wrote, done):
        with reading.scope(), reading.use_primary():
            await Product.objects.acreate(name="Egg timer", description="", price=3)
            wrote.set()
            await done.wait()
            return len([product async for product in Product.objects.all()])

    async def reader(wrote, done):
        with reading.scope():
            await wrote.wait()
            count = len([product async for product in Product.objects.all()])
            done.set()
            return count

    async def both():
        wrote, done = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(writer(wrote, done), reader(wrote, done))

    assert in_event_loop(both()) == [2, 1]


def test_a_demand_in_one_task_of_a_scope_is_not_one_in_another(shop):
    async def demanding(entered, done):
        with reading.use_primary():
            entered.set()
            await done.wait()
            return await sync_to_async(reading.database)()

    async def plain(entered, done):
        await entered.wait()
        alias = await sync_to_async(reading.database)()
        done.set()
        return alias

    async def request():
        with reading.scope():
            entered, done = asyncio.Event(), asyncio.Event()
            return await asyncio.gather(demanding(entered, done), plain(entered, done))

    primary, replica = in_event_loop(request())
    assert primary == "default" and replica in REPLICAS


def test_the_router_can_be_asked_in_the_event_loop(shop):
    """A related manager asks the router when it is created. No query can be made in the loop."""

    async def request():
        with reading.scope():
            unknown = reading.database()
            product = await Product.objects.aget()
            reviews = product.reviews.all()
            same, some = reviews.db, await reviews.aexists()
            await Product.objects.acreate(name="Egg timer", description="", price=3)
            return unknown, product._state.db, same, some, reading.database()

    unknown, replica, same, some, after_the_write = in_event_loop(request())
    assert (unknown, some, after_the_write) == ("default", False, "default")
    assert replica in REPLICAS and same == replica


def test_a_transaction_in_one_thread_is_not_one_in_another(shop):
    inside, done = Event(), Event()

    def hold_open():
        with transaction.atomic():
            list(Product.objects.all())
            inside.set()
            done.wait(20)
        connections.close_all()

    thread = Thread(target=hold_open)
    thread.start()
    assert inside.wait(20)
    try:
        with reading.scope():
            assert reading.database() in REPLICAS
    finally:
        done.set()
        thread.join()


def test_what_the_connection_is_wrapped_in_outlives_a_block(shop):
    """At its end, ``connection.execute_wrapper()`` removes the last wrapper, even another one."""
    connection = connections["default"]
    connection.close()
    connection.execute_wrappers.clear()

    def other(execute, *arguments):
        return execute(*arguments)

    with connection.execute_wrapper(other), reading.scope():
        assert Product.objects.using("default").count() == 1  # this opens the connection
    assert other not in connection.execute_wrappers
    with reading.scope():
        write()
        assert Product.objects.count() == 2


def test_a_choice_does_not_outlive_the_connection(shop, monkeypatch):
    """A new connection may fail, and then the caller of the query would get the error."""
    monkeypatch.setattr(reading, "CHOICE", 60)
    with reading.scope():
        first = Product.objects.get()._state.db
        connections.close_all()
        shop.lose(first)
        assert Product.objects.get()._state.db == (REPLICAS - {first}).pop()
