"""Lines of results are drawn where their values are, and a figure that is missing is named."""

import re
from xml.etree import ElementTree

import pytest

from benchmarks import plots

SVG = "{http://www.w3.org/2000/svg}"
NAME = "sharding | postgresql | top_growth_with_latency"
PLOT = f"""
.. plot:: Top 20 over more shards
   :unit: times
   :limit: 2

   top 20: {NAME} | times
   count: sharding | postgresql | count_growth_with_latency | times
"""


@pytest.fixture
def build(house):
    return lambda text: house.build_page(text, "pictures", "benchmarks.plots")


def drawn(html):
    return ElementTree.fromstring(re.search("<svg.*?</svg>", html, re.DOTALL)[0])


def test_twice_as_much_is_always_as_far():
    lines = {"a": {1: 1.0, 4: 10.0, 16: 100.0}, "b": {1: 100.0, 4: 10.0, 16: 1.0}}
    picture = plots.draw("Title", lines, "ms")
    up, down = (
        [tuple(map(float, point.split(","))) for point in line.split()]
        for line in re.findall('polyline points="([^"]+)"', picture.body)
    )
    assert up[1] == pytest.approx(((up[0][0] + up[2][0]) / 2, (up[0][1] + up[2][1]) / 2), abs=0.2)
    assert up[0][1] > up[2][1]
    assert [y for _, y in down] == [y for _, y in reversed(up)]


def test_a_value_is_at_its_tick():
    picture = plots.draw("Title", {"a": {1: 1.0, 64: 20.0}}, "ms")
    (line,) = re.findall('polyline points="([^"]+)"', picture.body)
    first, last = (point.split(",") for point in line.split())
    ticks = dict(
        (word, float(y) - 4)
        for y, word in re.findall(r'y="([\d.]+)" text-anchor="end">([^<]+)<', picture.body)
    )
    assert float(first[1]) == pytest.approx(ticks["1"], abs=0.1)
    assert float(last[1]) == pytest.approx(ticks["20"], abs=0.1)


@pytest.mark.parametrize("values", [(1.0, 4.4), (3.5, 4.4), (4.8, 8.9), (13.0, 245.0)])
def test_the_values_are_between_at_least_four_ticks(values):
    ticks = plots.Axes([1, 64], values[0] * 0.9, values[1] * 1.1, 300).ticks()
    assert len(ticks) >= 4


def test_the_figures_of_the_results_are_drawn_and_said(build):
    status, warnings, html = build(PLOT)
    assert (status, warnings) == (0, "")
    svg = drawn(html)
    assert svg.findtext(f"{SVG}title") == "Top 20 over more shards"
    found = plots.points(f"{NAME} | times")
    said = ", ".join(f"{plots.short(value)} at {number}" for number, value in found.items())
    assert f"top 20: {said};" in svg.findtext(f"{SVG}desc")
    assert len(svg.findall(f".//{SVG}polyline")) == 2
    assert len(svg.findall(f".//{SVG}circle")) == len(found)


def test_the_number_at_which_a_line_reaches_a_value(build):
    assert plots.reached({1: 1.0, 4: 1.0, 16: 4.0}, 2) == pytest.approx(8)
    assert plots.reached({1: 1.0, 4: 1.5}, 2) is None
    status, warnings, html = build(f"It is at :reached:`{NAME} | times | 2` shards.")
    assert (status, warnings) == (0, "")
    shown = int(html.partition("It is at ")[2].partition(" ")[0])
    assert shown == round(plots.reached(plots.points(f"{NAME} | times"), 2))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (PLOT.replace("count_growth", "nothing_growth"), "nothing_growth_with_latency"),
        (f":reached:`{NAME} | times | 900`", "no line reaches 900"),
        (".. plot:: Title\n\n   a: sharding | keys | median", "keys has no figures"),
    ],
)
def test_a_figure_that_nobody_measured_fails_the_build(build, text, name):
    status, warnings, _ = build(text)
    assert status == 1
    assert name in warnings and "no such figure in benchmarks/results" in warnings
