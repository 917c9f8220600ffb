"""Code that several examples have is the same in each, byte for byte."""

import ast
import re
from pathlib import Path

import pytest

EXAMPLES = sorted(path.parent for path in Path(__file__).parents[1].glob("examples/*/manage.py"))
# Files that are not part of a pattern. `diff -r` of two examples must show only the pattern's code.
# A folder means each file in it, in the examples that have the file.
FRAME = [
    "manage.py",
    "pytest.ini",
    "shop/errors.py",
    "shop/middleware.py",
    "shop/samples.py",
    "shop/static",
    "shop/templates",
    "tests/engines.py",
    "tests/processes.py",
]
# Pairs of examples with the same products, and the files that are the same.
ALIKE = ["functional", "replication"]
ALIKE_IN = [
    "products/management",
    "products/migrations",
    "products/models.py",
    "products/templates",
]
SHOP = {"shop", "products", "customers", "reviews"}  # the shop and its apps
# Their commands import the errors of a database from the app `sharding`.
WITHOUT = {("sharding", "shop/errors.py"), ("distributed", "shop/errors.py")}
# Apps that a reader takes whole. An app in several examples has all of its files in each.
COPIED = ["directory", "replicas", "replication", "sharding"]
TAKEN = [*COPIED, "distributed", "overlay", "multidb_checks", "outbox"]

# The files that `replicated_shards` has from other examples, but changed.
CHANGED = {
    # A product has orders, on the shards, and reviews, in another database.
    "products/templates/products/_facts.html",
    "products/views.py",
    # The combination itself: function, then shard, then role.
    "shop/routers.py",
    "shop/settings.py",
}


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".sqlite" not in path.name
    }


def different(trees):
    """Return the names of the files that are different in two of the folders that have them."""
    return sorted(
        name
        for name in set().union(*trees)
        if len({tree[name] for tree in trees if name in tree}) > 1
    )


@pytest.mark.parametrize("name", FRAME)
def test_the_frame_is_the_same_in_each_example(name):
    paths = [example / name for example in EXAMPLES if (example.name, name) not in WITHOUT]
    assert all(path.exists() for path in paths)
    assert not different(
        [files(path) if path.is_dir() else {name: path.read_bytes()} for path in paths]
    )


@pytest.mark.parametrize("name", ALIKE_IN)
def test_two_shops_are_filled_and_shown_alike(name):
    paths = [EXAMPLES[0].parent / example / name for example in ALIKE]
    trees = [files(path) if path.is_dir() else {name: path.read_bytes()} for path in paths]
    assert trees[0] == trees[1] != {}


def test_servers_are_started_alike():
    names = ("replication", "replicated_shards", "distributed")
    paths = [EXAMPLES[0].parent / name / "tests/servers.py" for name in names]
    assert not different([{"": path.read_bytes()} for path in paths])


@pytest.mark.parametrize("name", ["tests/load.py", "tests/loads.py"])
def test_two_commands_are_killed_under_the_same_load(name):
    paths = [EXAMPLES[0].parent / example / name for example in ("sharding", "distributed")]
    assert not different([{name: path.read_bytes()} for path in paths])


def test_the_distributed_shop_is_the_sharded_shop_but_for_settings_and_one_migration():
    one, other = (
        {
            name: content
            for app in ("customers", "products", "shop")
            for name, content in files(EXAMPLES[0].parent / example).items()
            if name.startswith(f"{app}/")
        }
        for example in ("sharding", "distributed")
    )
    assert "customers/models.py" in one
    assert other.keys() - one.keys() == {"customers/migrations/0002_distributed.py"}
    assert one.keys() <= other.keys()
    assert different([one, other]) == ["shop/settings.py"]


@pytest.mark.parametrize("app", COPIED)
def test_an_app_is_the_same_in_each_example_that_has_it(app):
    trees = [files(example / app) for example in EXAMPLES if (example / app).is_dir()]
    assert len(trees) > 1
    missing = set().union(*trees) - set(trees[0]).intersection(*trees)
    assert not missing and not different(trees), (sorted(missing), different(trees))


@pytest.mark.parametrize("app", TAKEN)
def test_an_app_that_is_taken_does_not_speak_of_the_shop(app):
    found = [
        path.relative_to(example.parent).as_posix()
        for example in EXAMPLES
        for path in (example / app).rglob("*.py")
        if re.search("shop|customer", path.read_text(), re.IGNORECASE)
    ]
    assert not found


@pytest.mark.parametrize("app", [*TAKEN, "shard_replicas"])
def test_an_app_that_is_taken_does_not_import_the_shop(app):
    found = []
    for example in EXAMPLES:
        for path in (example / app).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module]
                if any(name.split(".")[0] in SHOP for name in names):
                    found.append(f"{path.relative_to(example.parent)}:{node.lineno}")
    assert not found


def test_the_combination_is_made_of_the_others():
    combined = EXAMPLES[0].parent / "replicated_shards"
    others = [example for example in EXAMPLES if example != combined]
    changed = set()
    for file in combined.rglob("*.*"):
        name = file.relative_to(combined).as_posix()
        if file.suffix in (".py", ".html") and not name.startswith("tests/"):
            same = [
                (other / name).read_bytes() == file.read_bytes()
                for other in others
                if (other / name).exists()
            ]
            if same and not any(same):
                changed.add(name)
    assert changed == CHANGED
