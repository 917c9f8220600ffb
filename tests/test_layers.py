"""The modules of ``sharding/`` in reading order: no module imports a later one."""

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "examples" / "sharding" / "sharding"


def in_reading_order():
    docstring = ast.get_docstring(ast.parse((FOLDER / "__init__.py").read_text()))
    return re.findall(r"^``(\w+)``$", docstring, re.MULTILINE)


def imported(path):
    """Return the modules of ``sharding`` that a file imports, anywhere in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, module = name.partition(".")
            if package == "sharding":
                yield module.split(".")[0], node.lineno


def test_the_docstring_names_each_module():
    modules = {
        path.stem
        for path in FOLDER.iterdir()
        if path.suffix == ".py" or (path / "models.py").exists()
    } | {"management"}
    assert sorted(in_reading_order()) == sorted(modules - {"__init__"})


def test_no_module_imports_a_later_one():
    order = in_reading_order()
    later = []
    for path in FOLDER.rglob("*.py"):
        module = path.relative_to(FOLDER).parts[0].removesuffix(".py")
        if module not in order:  # only Django reads migrations
            continue
        later += [
            f"{path.relative_to(FOLDER)}:{line} imports {name}"
            for name, line in imported(path)
            if order.index(name) > order.index(module)
        ]
    assert not later
