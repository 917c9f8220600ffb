"""Installs an app of the examples as a reader would, in a project without the shop.

This program plays the reader. It makes a project by ``startproject``, with an app ``notes``. It
copies the folders of the app, and follows the docstring of the app's ``__init__.py``. Each literal
block (``::``) is added to the end of the file that the text above it names.
"""

import ast
import os
import re
import shutil
from pathlib import Path
from textwrap import dedent

import programs

EXAMPLES = Path(__file__).parents[1] / "examples"
#: A paragraph that ends in ``::``, and the literal block below it.
BLOCK = re.compile(r"(?P<lead>(?:^\S.*\n)*^\S.*::\n)\n(?P<text>(?:^ +.*\n|\n)+)", re.MULTILINE)
FILE = re.compile(r"``([\w/]+\.py)``")


class BareProject:
    """A project in ``folder``: ``site_`` has its settings and urls, ``notes`` its models."""

    def __init__(self, folder: Path, models: str):
        self.folder = folder
        folder.mkdir()
        self.django("startproject", "site_", ".")
        self.django("startapp", "notes")
        self.write("notes/models.py", models)
        self.append("site_/settings.py", 'INSTALLED_APPS += ["notes"]\n')

    def take(self, example: str, *apps: str) -> None:
        """Copy complete apps from an example."""
        ignored = shutil.ignore_patterns("__pycache__")
        for app in apps:
            shutil.copytree(EXAMPLES / example / app, self.folder / app, ignore=ignored)

    def follow(self, app: str, **files: str) -> None:
        """Follow an app's docstring.

        ``files`` maps the files that the docstring names to files of this project:
        ``settings="site_/settings.py"``.
        """
        names = {"settings.py": "site_/settings.py", "models.py": "notes/models.py"}
        names |= {f"{name}.py": path for name, path in files.items()}
        docstring = ast.get_docstring(ast.parse((self.folder / app / "__init__.py").read_text()))
        blocks = [
            (named[1], dedent(block["text"]).strip("\n") + "\n")
            for block in BLOCK.finditer(docstring + "\n")
            if (named := FILE.search(block["lead"])) and named[1] in names
        ]
        assert blocks, f"the docstring of {app} has no text for any file"
        for name, text in blocks:
            self.append(names[name], text)

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(dedent(text).lstrip("\n"))

    def append(self, path: str, text: str) -> None:
        with (self.folder / path).open("a") as file:
            file.write("\n" + text)

    def replace(self, path: str, old: str, new: str) -> None:
        """Change a file by hand. ``old`` must be in it."""
        text = (self.folder / path).read_text()
        assert old in text, f"{path} has no {old!r}"
        self.write(path, text.replace(old, new))

    def django(self, *arguments: str) -> str:
        return self.python("-m", "django", *arguments)

    def manage(self, *arguments: str, status: int = 0) -> str:
        """Run ``manage.py``, which must end with this exit status. Return the output."""
        return self.python("manage.py", *arguments, status=status)

    def shell(self, script: str) -> str:
        """Run a script by ``manage.py shell``. Return the output."""
        return self.manage("shell", "-v", "0", "-c", dedent(script))

    def python(self, *arguments: str, status: int = 0) -> str:
        process = programs.django.run(
            *arguments,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONUNBUFFERED": "1"},
            merged=True,
        )
        assert process.returncode == status, process.stdout
        return process.stdout
