"""The pictures show the answers of a project's settings and routers, and have them as text."""

import os
import re
import subprocess
import sys
from io import StringIO
from xml.etree import ElementTree

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from livedocs import session
from pictures import topology
from pictures.svg import inline
from pictures.topology import CannotAsk, ask, draw

MANAGE = 'import os; os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
SETTINGS = """
def sqlite(**more):
    return {{"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3", **more}}

DATABASES = {databases}
DATABASE_ROUTERS = ["shop.routers.Router"]
INSTALLED_APPS = ["things", "django.contrib.contenttypes", "django.contrib.auth"]
"""
TWO = '{"default": sqlite(), "second": sqlite()}'


def project(folder, router, databases=TWO, models=("Thing", "Other")):
    """Write a project with that router and these models."""
    files = {
        "manage.py": MANAGE,
        "shop/settings.py": SETTINGS.format(databases=databases),
        "shop/routers.py": router,
        "things/models.py": "from django.db.models import Model\n"
        + "".join(f"class {name}(Model): pass\n" for name in models),
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture
def picture(tmp_path):
    """Draw a project with that router. The second value is the parsed SVG."""

    def picture(router, *rest):
        drawn = draw("things", ask(project(tmp_path / "things", router, *rest)))
        return drawn.description, ElementTree.fromstring(inline(drawn, "name"))

    return picture


def words(svg) -> list[str]:
    return [text.text.strip() for text in svg.iter("{http://www.w3.org/2000/svg}text")]


def dashed(svg) -> int:
    """Count the lines for reads."""
    return sum(element.get("stroke-dasharray") == "5,2" for element in svg.iter())


FUNCTIONAL = """
class Router:
    def db_for_read(self, model, **hints):
        return "second" if model.__name__ == "Other" else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return db == ("second" if model_name == "other" else "default")
"""


def test_separation_by_function(picture):
    description, svg = picture(FUNCTIONAL)
    assert description == (
        "default and second on SQLite."
        " Thing is read from and written to default."
        " Other is read from and written to second."
        " contenttypes and auth are read from and written to default."
    )
    assert words(svg).count("reads and writes") == 3
    assert {"Thing", "Other", "contenttypes, auth", "default", "second"} < set(words(svg))
    assert dashed(svg) == 0


REPLICAS = """
import random
print("a project may print as it starts")

class Router:
    pinned = False

    def db_for_read(self, model, **hints):
        return "default" if self.pinned else random.choice(["r1", "r2", "r3"])

    def db_for_write(self, model, **hints):
        Router.pinned = True
        return "default"
"""
MIRRORS = (
    '{"default": sqlite(), **{f"r{n}": sqlite(TEST={"MIRROR": "default"}) for n in (1, 2, 3)}}'
)


def test_replication(picture):
    description, svg = picture(REPLICAS, MIRRORS)
    assert description == (
        "default, r1, r2 and r3 on SQLite. Replicated from default: r1, r2 and r3."
        " Thing and Other are read from r1, r2 or r3, and written to default."
        " contenttypes and auth are read from r1, r2 or r3, and written to default."
    )
    assert words(svg).count("replica of default") == 3
    assert words(svg).count("writes") == words(svg).count("reads") == dashed(svg) == 2
    assert "3 replicas" in words(svg)


def test_replicas_beside_their_primary(tmp_path):
    facts = ask(project(tmp_path / "things", REPLICAS, MIRRORS))
    tall, wide = draw("things", facts), draw("things", facts, wide=True)
    assert wide.width > tall.width and wide.height < tall.height
    assert wide.description == tall.description
    assert "replica of default" in tall.body and "replica of default" not in wide.body
    assert "SQLite" in tall.body and "SQLite" not in wide.body


def test_a_picture_of_some_models(tmp_path):
    facts = ask(project(tmp_path / "things", FUNCTIONAL))
    drawn = draw("things", facts, models=("Other",))
    assert drawn.description == (
        "default and second on SQLite. Other is read from and written to second."
        " No model in the picture uses default. Other models are not drawn."
    )
    assert "Thing" not in drawn.body and "contenttypes" not in drawn.body
    with pytest.raises(CannotAsk, match="^things has no model Nothing$"):
        draw("things", facts, models=("Other", "Nothing"))


def test_a_wide_picture_has_the_replicas_of_each_shard_beside_it(tmp_path):
    databases = """{"default": sqlite(), "a": sqlite(), "b": sqlite(), **{
        f"{of}{n}": sqlite(TEST={"MIRROR": of}) for of in "ab" for n in (1, 2)}}"""
    router = """
class Router:
    def db_for_read(self, model, **hints):
        if model._meta.app_label == "things":
            raise LookupError
        return "default"

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (db in ("a", "b")) if app_label == "things" else db == "default"
"""
    drawn = draw("things", ask(project(tmp_path / "things", router, databases)), wide=True)
    places = {}
    for graph in ElementTree.fromstring(inline(drawn, "name")).iter():
        for text in graph.findall("{http://www.w3.org/2000/svg}text"):
            places[text.text.strip()] = (float(text.get("x")), float(text.get("y")))
    assert {"2 shards", "4 replicas"} < set(places)
    across, down = ({name: place[axis] for name, place in places.items()} for axis in (0, 1))
    assert down["a1"] == down["a2"] < down["b1"] == down["b2"]
    assert across["a1"] == across["b1"] < across["a2"] == across["b2"]
    assert down["a"] < down["b"] and across["a"] == across["b"]


SHARDS = """
class ShardUnknown(Exception):
    pass

class Router:
    def db_for_read(self, model, **hints):
        if model._meta.app_label == "things":
            {unknown}
        return "default"

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (app_label == "things") == db.startswith("shard")
"""


@pytest.mark.parametrize(
    ("unknown", "why"),
    [
        ("raise ShardUnknown", "the router raises ShardUnknown"),
        ('hints["shard"]', "the router raises KeyError"),
        ("pass", "Django uses default, which has no such table"),
    ],
)
def test_sharding(picture, unknown, why):
    databases = '{"default": sqlite(), **{f"shard{n}": sqlite() for n in range(4)}}'
    description, svg = picture(SHARDS.format(unknown=unknown), databases)
    where = "shard0, shard1, shard2 and shard3"
    assert f"Thing and Other are split over {where}. For a query of Thing or Other" in description
    assert f"without a hint, {why}." in description
    assert {"split over 4 databases", "by a hint", "shard0", "shard3"} < set(words(svg))


def test_very_many_shards_are_drawn_as_the_first_and_the_last(picture):
    databases = '{"default": sqlite(), **{f"shard{n}": sqlite() for n in range(1, 17)}}'
    description, svg = picture(SHARDS.format(unknown="raise ShardUnknown"), databases)
    assert "split over 16 databases (the first shard1, the last shard16). " in description
    assert {"split over 16 databases", "shard1", "⋮", "shard16"} < set(words(svg))
    assert "shard2" not in words(svg)


OVERLAY = """
class Router:
    def db_for_read(self, model, **hints):
        return "second" if model._meta.app_label == "things" else "default"

    def db_for_write(self, model, **hints):
        if model.__name__ == "Other":
            raise PermissionError
        return "default"

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return db == "default" and model_name != "other"
"""


def test_an_overlay(picture):
    description, svg = picture(OVERLAY)
    assert "Thing is read from second, and written to default." in description
    assert (
        "Other is read from second. For a write, the router raises PermissionError." in description
    )
    assert (words(svg).count("reads"), words(svg).count("writes"), dashed(svg)) == (2, 1, 2)


def test_a_table_that_is_not_used_is_shown(picture):
    description, svg = picture("class Router: pass")
    assert "auth also have tables in second." in description
    assert words(svg).count("table only") == 2


def test_a_database_that_is_not_used_is_said_to_be(picture):
    databases = TWO.replace("}", ', "spare": {"ENGINE": "django.db.backends.sqlite3"}}')
    description, svg = picture(FUNCTIONAL, databases)
    assert description.endswith("No model in the picture uses spare.")
    assert "spare" in words(svg)


def test_names_are_escaped(picture):
    alias = r"""<b> &lt; "x\n" """.strip()
    databases = f"{{'default': sqlite(), {alias!r}: sqlite()}}"
    description, svg = picture(FUNCTIONAL.replace('"second"', repr(alias)), databases)
    assert f"Other is read from and written to {alias}." in description
    assert alias in words(svg)
    assert svg.findtext("{http://www.w3.org/2000/svg}desc") == description


ASKS_A_DATABASE = """
class Router:
    def db_for_read(self, model, **hints):
        from django.db import connection
        connection.cursor().execute("SELECT alias FROM shards")

    db_for_write = db_for_read
"""


def test_asking_leaves_nothing_behind(picture, tmp_path):
    description, _ = picture(ASKS_A_DATABASE)
    assert "without a hint, the router raises OperationalError" in description
    assert not list(tmp_path.rglob("*.sqlite3")) + list(tmp_path.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("router", "said"),
    [
        ("class Router: db_for_read = lambda self, model, **hints: nowhere", "'nowhere' is not"),
        ("class Router: db_for_read = lambda self, model, **hints: 'x'", "does not have"),
        ("import nowhere", "No module named 'nowhere'"),
    ],
)
def test_a_router_that_is_broken_is_a_fault(picture, tmp_path, router, said):
    with pytest.raises(CannotAsk, match=said) as raised:
        picture(router)
    assert (
        f'File "{tmp_path}/things/shop/routers.py", line 1' in str(raised.value) or said[0] == "d"
    )


PICKED_ONCE = """
import random

class Router:
    picked = random.choice([f"r{n}" for n in range(20)])

    def db_for_read(self, model, **hints):
        return self.picked
"""


WITHIN = """
inside = False

def middleware(get_response):
    def answer(request):
        global inside
        inside = True
        try:
            return get_response(request)
        finally:
            inside = False
    return answer

class Router:
    def db_for_read(self, model, **hints):
        return "second" if inside else "default"
"""


def test_the_router_is_asked_within_a_request(tmp_path):
    folder = project(tmp_path / "things", WITHIN)
    with (folder / "shop/settings.py").open("a") as settings:
        settings.write('MIDDLEWARE = ["shop.routers.middleware"]\n')
    assert ask(folder)["models"][0]["reads"]["aliases"] == ["second"]


def test_a_request_that_reaches_no_view_is_said(tmp_path):
    folder = project(tmp_path / "things", WITHIN)
    with (folder / "shop/settings.py").open("a") as settings:
        settings.write('MIDDLEWARE = ["django.middleware.security.SecurityMiddleware"]\n')
        settings.write("SECURE_SSL_REDIRECT = True\n")
    with pytest.raises(CannotAsk, match="answered GET / with status 301, and called no view"):
        ask(folder)


def test_commands_that_go_before(tmp_path):
    router = """
import pathlib

class Router:
    def db_for_read(self, model, **hints):
        return pathlib.Path("answer").read_text()
"""
    folder = project(tmp_path / "things", router)
    with (folder / "manage.py").open("a") as manage:
        manage.write("import pathlib, sys\npathlib.Path('answer').write_text(sys.argv[2])\n")
    assert ask(folder, "answer second; answer default")["models"][0]["reads"]["aliases"] == [
        "default"
    ]
    with pytest.raises(CannotAsk, match="IndexError"):
        ask(folder, "answer")


def test_each_time_the_same(tmp_path):
    databases = MIRRORS.replace("(1, 2, 3)", "range(20)")
    folder = project(tmp_path / "things", PICKED_ONCE, databases)
    code = """
import pathlib, sys
from pictures import svg, topology
print(svg.inline(topology.draw("x", topology.ask(pathlib.Path(sys.argv[1]))), "x"))
"""
    outputs = {
        subprocess.check_output(
            [sys.executable, "-c", code, folder],
            env=os.environ | {"PYTHONHASHSEED": seed},
        )
        for seed in "12"
    }
    assert len(outputs) == 1


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Build a page with that text and builder. The example is ``things``.

    Returns the warnings and the built page.
    """
    for module in (session, topology):
        monkeypatch.setattr(module, "EXAMPLES", tmp_path / "examples")
    project(tmp_path / "examples/things", FUNCTIONAL)

    def build(text: str, builder: str = "html") -> tuple[str, str]:
        page = tmp_path / "docs/index.rst"
        page.parent.mkdir(exist_ok=True)
        if not page.exists() or page.read_text() != text:
            page.write_text(text)
        out, conf, warnings = tmp_path / builder, dict(CONF), StringIO()
        with docutils_namespace():
            Sphinx(page.parent, None, out, out, builder, conf, None, warnings).build()
        return warnings.getvalue(), next(out.glob("index.[ht]*")).read_text()

    return build


CONF = {"extensions": ["pictures", "sphinx_revealjs"], "html_theme": "basic"}
PAGE = "Title\n=====\n\n.. topology:: things\n"


def drawings(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def test_two_pictures_on_a_page(site):
    warnings, html = site(f"{PAGE}\n.. topology:: things :ref:`Look <search>`\n")
    assert (warnings, len(drawings(html)), html.count("<figcaption>")) == ("", 2, 1)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for svg in drawings(html):
        title, desc = (
            svg.find(f"{{http://www.w3.org/2000/svg}}{tag}") for tag in ("title", "desc")
        )
        assert svg.get("role") == "img"
        assert svg.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
        assert title.text == "The databases of examples/things"
        assert "Other is read from and written to second." in desc.text
    assert html.count("Other is read from") == 2
    # Only the colours of the page, and the measured font, and no elements that HTML lacks.
    assert not re.search("black|#000|white|font-family=.(?!Helvetica)|xlink|<!DOCTYPE svg", html)


def test_the_picture_follows_the_router(site, tmp_path):
    things, count = tmp_path / "examples/things/shop", tmp_path / "count"
    with (things / "settings.py").open("a") as settings:
        settings.write(f"open({str(count)!r}, 'a').write('.')\n")
    assert "Other is read from and written to second." in site(PAGE)[1]

    html = site(f"{PAGE}\nText.\n")[1]
    assert "<p>Text.</p>" in html and len(drawings(html)) == 1
    assert count.read_text() == "."  # An unchanged project is not asked again.

    read = (tmp_path / "html/index.doctree").stat().st_mtime_ns
    site(f"{PAGE}\nText.\n")
    assert (tmp_path / "html/index.doctree").stat().st_mtime_ns == read

    router = FUNCTIONAL.replace('"Other"', '"Thing"').replace('"other"', '"thing"')
    (things / "routers.py").write_text(router)
    html = site(f"{PAGE}\nText.\n")[1]
    assert "Thing is read from and written to second. Other is read from and written" in html
    assert count.read_text() == ".."


def test_a_builder_without_drawings_has_the_words(site):
    assert "Other is read from and written to second." in " ".join(site(PAGE, "text")[1].split())


@pytest.mark.filterwarnings("ignore:'sphinx_revealjs")
def test_the_deck_has_pictures_too(site):
    warnings, html = site(PAGE, "revealjs")
    assert (warnings, len(drawings(html))) == ("", 1)


def test_what_cannot_be_drawn_is_said_in_each_build(site, tmp_path):
    (tmp_path / "examples/empty").mkdir()
    settings = project(tmp_path / "examples/broken", FUNCTIONAL) / "shop/settings.py"
    settings.write_text("DATABASES = nowhere\n")
    lines = [f".. topology::{name}" for name in ("", " nothere", " empty", " broken")]
    known = "name one of broken, empty, things"
    for _ in range(2):
        warnings, _ = site("Title\n=====\n\n" + "\n\n".join(lines))
        for line, what in {
            4: f"it names no project: {known}",
            6: f"examples/ has no folder nothere: {known}",
            8: "empty has no manage.py that names its DJANGO_SETTINGS_MODULE",
            10: "broken could not be asked. Correct this error:",
        }.items():
            assert f"docs/index.rst:{line}: WARNING: .. topology:: {what}" in warnings
        assert f'{settings}", line 1' in warnings
        assert "NameError: name 'nowhere' is not defined" in warnings
