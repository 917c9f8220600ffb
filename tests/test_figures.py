"""The pages take figures from the benchmarks' results, and a wrong name is an error."""

import json

import pytest

from benchmarks import HERE


@pytest.fixture
def build(house):
    """Build a page with that text. Return the exit status, the warnings and the page."""

    return lambda text: house.build_page(text, "benchmarks.figures")


def test_a_figure_is_that_of_the_results(build):
    results = json.loads((HERE / "results/replication.json").read_text())["results"]
    milliseconds = results["index"]["figures"]["with the index"]["wall"]["median"]
    status, warnings, html = build("It takes :measured:`replication | index | with the index`.")
    assert (status, warnings) == (0, "")
    shown = html.partition("It takes ")[2].partition("\N{NO-BREAK SPACE}ms.")[0]
    assert float(shown) == pytest.approx(milliseconds, rel=0.05)


def test_a_figure_of_a_server_and_a_ratio_are_those_of_its_results(build):
    results = json.loads((HERE / "results/sharding.json").read_text())["postgresql"]["results"]
    ours = results["get"]["figures"]["examples/sharding"]
    name = "sharding | postgresql | get | examples/sharding"
    status, warnings, html = build(f"It takes :measured:`{name}`, :measured:`{name} | times`.")
    assert (status, warnings) == (0, "")
    shown, times = html.partition("It takes ")[2].partition("</p>")[0].split(", ")
    microseconds = float(shown.partition("\N{NO-BREAK SPACE}")[0].replace(",", ""))
    times = float(times.partition("\N{NO-BREAK SPACE}")[0])
    assert microseconds == pytest.approx(ours["wall"]["median"], rel=0.05)
    assert times == pytest.approx(ours["wall_ratio"]["median"], rel=0.05)


def test_a_ratio_has_two_digits(build):
    name = "sharding | mariadb | count | one database | times"
    assert "It takes 1.0\N{NO-BREAK SPACE}times." in build(f"It takes :measured:`{name}`.")[2]


def test_the_best_of_a_rate_is_the_highest(build):
    results = json.loads((HERE / "results/sharding.json").read_text())["results"]
    rate = results["populate"]["figures"]["executemany"]["wall"]["max"]
    status, warnings, html = build("It is :measured:`sharding | populate | executemany | best`.")
    assert (status, warnings) == (0, "")
    shown = html.partition("It is ")[2].partition("\N{NO-BREAK SPACE}rows/s.")[0]
    assert float(shown.replace(",", "")) == pytest.approx(rate, rel=0.05)


@pytest.mark.parametrize(
    "name",
    [
        "nothing | index | with the index",
        "replication | index | nothing",
        "replication",
        "sharding | postgresql | index | nothing",
    ],
)
def test_a_figure_that_nobody_measured_fails_the_build(build, name):
    status, warnings, html = build(f"It takes :measured:`{name}`.")
    assert status == 1
    assert f"index.rst:4: WARNING: {name}: no such figure in benchmarks/results" in warnings
