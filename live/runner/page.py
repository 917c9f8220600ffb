"""A page's session in a browser, where there is one process: its files, commands and Python.

``worker.js`` asks a `Page`.
"""

import difflib
import doctest
import importlib
import io
import itertools
import json
import linecache
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout

from runner import programs
from runner.mends import NotHere
from runner.process import ENVIRONMENT, Process
from runner.shell import Shell, copy_folder, read, run_command

subprocess.run = run_command

FLAGS = doctest.ELLIPSIS | doctest.DONT_ACCEPT_TRUE_FOR_1
SETTINGS = re.compile(r"""["']DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""")
EXAMPLE = re.compile(r"^>>> (.*(?:\n\.\.\.(?: .*|$))*)\n?((?:(?!>>> ).*(?:\n|\Z))*)", re.MULTILINE)
COMMAND = re.compile(r"^\$ (.*(?:\n> .*)*)\n?((?:(?!\$ ).*(?:\n|\Z))*)", re.MULTILINE)


def compact(text):
    """Leave out empty lines, which Sphinx also leaves out, and spaces at the end of lines."""
    lines = [line.rstrip() for line in text.replace("<BLANKLINE>", "").splitlines()]
    return "".join(f"{line}\n" for line in lines if line)


def agrees(want, got):
    # The dots in place of a traceback's stack may have any indentation.
    want = re.sub(r"^(Traceback .*:\n) +\.\.\.$", r"\1...", want, flags=re.MULTILINE)
    checker, ends = doctest.OutputChecker(), [text.rstrip("\n") + "\n" for text in (want, got)]
    compacted = map(compact, ends)
    return checker.check_output(*ends, FLAGS) or checker.check_output(*compacted, FLAGS)


def result(source, want, got, right=None):
    """Return what a reader sees of a prompt or command. Without ``right``, it is compared."""
    right = agrees(want, got) if right is None else right
    lines = (compact(text).splitlines(keepends=True) for text in (want, got))
    diff = "" if right else "".join(line for line in difflib.ndiff(*lines) if line[0] != "?")
    return {"source": source, "got": got, "right": right, "diff": diff}


class Page:
    """What ``live.js`` asks of the worker. Arguments and answers are JSON, but for the zip."""

    def __init__(self, project):
        self.project, self.folder, self.original = project, f"/home/{project}", "/original"
        self.interpreter, self.snapshots, self.changes = None, {}, {}
        os.makedirs(self.original)
        if project != "page":
            shutil.unpack_archive(f"/home/Downloads/{project}-example.zip", "/home")
            os.rename(self.folder, self.original)
            os.remove(f"{self.original}/LICENSE")
        self.rewind("{}")

    def rewind(self, given):
        """Put back the files as they were before a block, or before the nearest one above."""
        to = json.loads(given).get("to", 0)
        near = max((index for index in self.snapshots if index <= to), default=0)
        self.stop()
        os.chdir("/")
        copy_folder(self.snapshots.get(near, self.original), self.folder)
        for index in [index for index in self.snapshots if index > near]:
            shutil.rmtree(self.snapshots.pop(index))
        self.changes = {key: change for key, change in self.changes.items() if key[1] <= near}
        self.status = 0
        return json.dumps(near)

    def run(self, given):
        block = json.loads(given)
        kind, text, self.number = block["kind"], block["text"], block["number"]
        self.alone = block.get("alone")
        try:
            if kind in ("file", "part", "end"):
                results = self.place(**block)
            else:
                if not self.interpreter:
                    self.keep_snapshot()
                results = getattr(self, kind)(text)
        except NotHere as reason:
            results = [{"source": text, "got": f"{reason}\n", "right": None}]
        except Exception as error:
            results = [result(text, "", programs.traceback_of(error, self.folder), right=False)]
        if goal := block.get("goal"):
            wanted = (EXAMPLE if kind == "doctest" else COMMAND).findall(goal)
            printed = [each["got"] for each in results]
            solved = [agrees(want, got) for (_, want), got in zip(wanted, printed, strict=False)]
            results[-1]["solved"] = all(solved) and len(wanted) == len(printed)
        return json.dumps(results)

    def keep_snapshot(self):
        """Keep the files as they are before a block, unless it runs alone, out of its order."""
        if self.alone:
            return
        index = self.number - 1
        self.snapshots[index] = f"/snapshots/{index}"
        copy_folder(self.folder, self.snapshots[index])

    def place(self, kind, text, path, shown, number, **block):
        """Write a file. If this changes the file, the interpreter ends, as in the site's run."""
        target = os.path.join(self.folder, path)
        if kind == "part":
            self.changes[path, number] = shown.rstrip("\n"), text.rstrip("\n")
            text = self.with_changes(path)
        elif kind == "end":
            text = f"{read(target)}\n{text}"
        if not os.path.exists(target) or read(target) != text:
            self.stop()
            self.keep_snapshot()
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w") as file:
                file.write(text)
        return []

    def with_changes(self, path):
        """Return a file of the project, with the changes to the parts that the page shows."""
        whole = read(os.path.join(self.original, path))
        for (changed, _), (shown, text) in sorted(self.changes.items()):
            if changed == path and text != shown:
                if shown not in whole:
                    raise ValueError(f"this part of {path} can't be changed here")
                whole = whole.replace(shown, text, 1)
        return whole

    def execute(self, source, mode):
        """Run Python in the interpreter. Return what it printed, and whether there was an error."""
        if not self.interpreter:
            own = self.settings()
            self.interpreter = Process(self.folder, self.folder, [""], ENVIRONMENT | own)
            self.names = {"__name__": "__main__"}
            if own:
                self.interpreter.run(lambda: importlib.import_module("django").setup())
        out = io.StringIO()

        def run():
            with redirect_stdout(out):
                try:
                    exec(compile(source, f"block {self.number}", mode), self.names)
                except NotHere:
                    raise
                except BaseException as error:
                    print(programs.traceback_of(error, self.folder), end="")
                    return True

        return self.interpreter.run(run), out.getvalue()

    def python(self, text):
        self.note_source(text)
        failed, got = self.execute(text, "exec")
        return [result(text, got, got, right=not failed)]

    def doctest(self, text):
        self.note_source(re.sub(r"^(>>>|\.\.\.) ?", "", text, flags=re.MULTILINE))
        results = []
        for example in EXAMPLE.finditer(text):
            source = re.sub(r"^\.\.\. ?", "", example[1], flags=re.MULTILINE) + "\n"
            above = text.count("\n", 0, example.start())
            _, got = self.execute("\n" * above + source, "single")
            results.append(result(example[1], example[2], got))
        return results

    def note_source(self, text):
        """Let tracebacks show the lines of a block."""
        name = f"block {self.number}"
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name

    def console(self, text):
        results, commands = [], COMMAND.findall(text)
        for (command, want), (following, _) in itertools.pairwise([*commands, ("", "")]):
            out = io.StringIO()
            shell = Shell(self.folder, out, {"?": str(self.status)})
            try:
                self.status = shell.run(command.replace("\n> ", "\n"))
            except NotHere as reason:
                return [*results, {"source": command, "got": f"{reason}\n", "right": None}]
            got = out.getvalue()
            expected = not self.status or following == "echo $?"
            results.append(result(command, want, got, right=None if expected else False))
        return results

    def settings(self):
        found = SETTINGS.search(read(f"{self.folder}/manage.py", ""))
        return {"DJANGO_SETTINGS_MODULE": found[1]} if found else {}

    def stop(self):
        if self.interpreter:
            self.interpreter.end()
            self.interpreter = None

    def look(self, given):
        """Return the tables of each alias, with the number of rows and the first five."""
        out, err = io.StringIO(), io.StringIO()
        if not (own := self.settings()):
            return "{}"
        known = self.interpreter.run(aliases) if self.interpreter else {}
        command, given = ["python", "-m", "runner.look"], json.dumps(known, default=str)
        programs.run(self.folder, command, out, err, ENVIRONMENT | own, given)
        return out.getvalue() or json.dumps({"settings": {"error": err.getvalue().strip()}})

    def zip(self, given):
        """Return the project's folder as it is now, as the bytes of a zip."""
        target = f"/download/{self.project}"
        copy_folder(self.folder, target)
        with open(shutil.make_archive("/download", "zip", "/download", self.project), "rb") as file:
            return file.read()


def aliases():
    """Return the databases of this process, with those that its code added to the settings."""
    return sys.modules["django.db"].connections.settings if "django.db" in sys.modules else {}
