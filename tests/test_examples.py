"""Each example by itself, as its reader has it."""

import doctest
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from textwrap import dedent

import pytest
from sybil.evaluators.doctest import OutputChecker

from livedocs.pages import COMMAND, PARSERS, Page
from livedocs.slips import report_slip

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/manage.py"))
#: 6.1 needs Python 3.12.
DJANGOS = ["5.2", "6.1"] if sys.version_info >= (3, 12) else ["5.2"]

BLOCK = re.compile(
    r"^(?P<skip>\.\. skip: next .*\n\n)?"
    r"\.\. code-block:: (console|python\n +:caption: (?P<file>.+))\n\n"
    r"(?P<text>(?: .*\n|\n)+)",
    re.MULTILINE,
)
#: Whatever a page can run. All of a README's have to be such blocks as above.
ANY_BLOCK = re.compile(r"^ *(\.\. (code-block|literalinclude|include)::|>>> )", re.MULTILINE)
#: How a README begins: it makes an environment.
INSTALL = [
    "python -m venv .venv",
    ". .venv/bin/activate",
    "python -m pip install -r requirements.txt",
]
#: What a reader answers, stops, or may not have; and what the test runs instead.
INSTEAD = {
    r"python manage.py createsuperuser": r"\g<0> --noinput",
    r"python manage.py runserver": (
        r"\g<0> {port} --noreload & for second in $(seq 30); do sleep 1; python -c '"
        r'from urllib.request import urlopen; urlopen("http://127.0.0.1:{port}/")'
        r"' 2>/dev/null && break; done; answered=$?; kill $!; wait $!; (exit $answered)"
    ),
    # It goes on until it is stopped: to that, `timeout` says 124.
    r"python manage.py \w+ --follow.*": r"timeout 3 \g<0>; test $? = 124",
    r"sqlite3 .*": r"! command -v sqlite3 || \g<0>",
}
MARK = "== ended with"


@pytest.fixture(params=EXAMPLES, ids=lambda folder: folder.name)
def example(request, tmp_path):
    """A copy of an example's folder, alone."""
    ignored = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
    return shutil.copytree(request.param, tmp_path / request.param.name, ignore=ignored)


@pytest.fixture
def environment(example, django):
    """The variables of a shell with no Python packages but those that an example's README installs.

    They are installed once, by the commands of the README, for all the examples that require the
    same; and the next time that the tests are run, they are there already.
    """
    requirements = re.sub("^#.*\n", "", (example / "requirements.txt").read_text(), flags=re.M)
    install = "\n".join(["set -e", *INSTALL]) + f" 'Django~={django}.0'"
    what = [str(ROOT), sys.version, requirements, install]
    folder = ROOT / "_build" / "environments" / sha256("\n".join(what).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    variables = {
        "PATH": f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": os.environ["HOME"],
        "PYTHONUNBUFFERED": "1",  # as on a terminal, what is printed comes in its order
    }
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            # The Python that virtual environments are made from, and no package of this one.
            (folder / "bin").mkdir(exist_ok=True)
            (folder / "bin" / "python").unlink(missing_ok=True)
            (folder / "bin" / "python").symlink_to(Path(sys._base_executable).resolve())
            (folder / "requirements.txt").write_text(requirements)
            made = subprocess.run(
                ["bash", "-c", install], cwd=folder, env=variables, capture_output=True, text=True
            )
            assert made.returncode == 0, made.stderr
            (folder / "installed").touch()
    (example / ".venv").symlink_to(folder / ".venv")
    return variables


@pytest.mark.parametrize("django", DJANGOS)
def test_alone_by_following_its_readme(example, django, environment):
    """In one shell, from making the virtual environment to the example's own tests."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script, wanted = [], []
    readme = (example / "README.rst").read_text()
    assert len(BLOCK.findall(readme)) == len(ANY_BLOCK.findall(readme))
    assert re.findall(r"^ +\$ (.+)$", readme, re.M)[: len(INSTALL)] == INSTALL
    for block in BLOCK.finditer(readme):
        text = dedent(block["text"]).strip("\n") + "\n"
        if block["file"]:
            script.append(f"cat > {block['file']} <<'END OF FILE'\n{text}END OF FILE")
            continue
        for command, want in COMMAND.findall(text):
            wanted.append((command, None if block["skip"] else want.rstrip("\n")))
            if command in INSTALL and command != INSTALL[1]:
                command = "true"  # done, see ``environment``
            for pattern, instead in INSTEAD.items():
                if re.fullmatch(pattern, command):
                    instead = instead.replace("{django}", django).replace("{port}", str(port))
                    command = re.sub(pattern, instead, command)
                    break
            command = command.replace("\n> ", "\n")
            script.append(f'(exit $status)\n{command}\nstatus=$?\necho "\n{MARK} $status"')
    environment |= {
        "DJANGO_SUPERUSER_USERNAME": "reader",
        "DJANGO_SUPERUSER_PASSWORD": "pendulum",
        "DJANGO_SUPERUSER_EMAIL": "reader@clocks.example",
    }
    process = subprocess.run(
        ["bash", "-c", "\n".join(["status=0", *script, "python -m django --version"])],
        cwd=example,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    *said, version = re.split(rf"\n{MARK} (\d+)\n", process.stdout)
    assert version.startswith(django) and len(said) == 2 * len(wanted), process.stdout
    following = [command for command, _ in wanted[1:]] + [""]
    for (command, want), got, status, then in zip(
        wanted, said[::2], said[1::2], following, strict=True
    ):
        assert status == "0" or then == "echo $?", f"$ {command}\n{got}"
        if want is not None:
            same = OutputChecker().check_output(want, got.rstrip("\n"), doctest.ELLIPSIS)
            assert same, f"$ {command}\n{got}\nis not\n{want}"
    tests = said[2 * [command for command, _ in wanted].index("python -m pytest")]
    assert " passed" in tests and " failed" not in tests


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_its_readme_has_no_slips(folder):
    """As a page it would be told of them; here it is not run as one."""
    page = Page.parse(str(folder / "README.rst"), *PARSERS)
    regions = [region for _, region in page.regions]
    assert len(regions) > 10
    assert [r.parsed for r in regions if r.evaluator is report_slip] == []


def test_no_migration_is_missing(example):
    command = ["manage.py", "makemigrations", "--check", "--dry-run"]
    process = subprocess.run(
        [sys.executable, *command], cwd=example, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout + process.stderr
