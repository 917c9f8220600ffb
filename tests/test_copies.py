"""What several examples have is the same in each: a fact of code has one text, in copies."""

from pathlib import Path

import pytest

EXAMPLES = sorted(path.parent for path in Path(__file__).parents[1].glob("examples/*/manage.py"))
# What is no part of a pattern. `diff -r` of two examples is to show what a pattern costs, no more.
SHARED = [
    "manage.py",
    "pytest.ini",
    "shop/errors.py",
    "shop/middleware.py",
    "shop/static/shop.css",
    "shop/templates/base.html",
    "shop/templates/pages.html",
    "shop/templates/registration/login.html",
]
# Of what `replicated_shards` has from others, the files that it had to change.
CHANGED = {
    "products/templates/products/_facts.html",
    "products/views.py",
    "sharding/buckets.py",
    "sharding/gather.py",
    "sharding/migrations/0001_initial.py",
    "sharding/models.py",
    "sharding/reshard.py",
    "shop/routers.py",
    "shop/settings.py",
}


@pytest.mark.parametrize("file", SHARED)
def test_what_examples_share_is_the_same_in_each(file):
    assert len({(example / file).read_bytes() for example in EXAMPLES}) == 1


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
