"""Each example by itself, as its reader has it."""

import doctest
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from sybil.evaluators.doctest import OutputChecker

from livedocs.pages import COMMAND

EXAMPLES = sorted(path.parent for path in Path(__file__).parents[1].glob("examples/*/manage.py"))


#: 6.1 needs Python 3.12.
DJANGOS = ["5.2", "6.1"] if sys.version_info >= (3, 12) else ["5.2"]

BLOCK = re.compile(
    r"^(?P<skip>\.\. skip: next .*\n\n)?"
    r"\.\. code-block:: (console|python\n +:caption: (?P<file>.+))\n\n"
    r"(?P<text>(?: .*\n|\n)+)",
    re.MULTILINE,
)
#: What a reader answers, stops, or may not have; and what the test runs instead.
INSTEAD = {
    r"python -m pip install .*": r"\g<0> 'Django~={django}.0'",
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


@pytest.mark.parametrize("django", DJANGOS)
def test_alone_by_following_its_readme(example, django, tmp_path):
    """In one shell, from making the virtual environment to the example's own tests."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script, wanted = [], []
    for block in BLOCK.finditer((example / "README.rst").read_text()):
        text = dedent(block["text"]).strip("\n") + "\n"
        if block["file"]:
            script.append(f"cat > {block['file']} <<'END OF FILE'\n{text}END OF FILE")
            continue
        for command, want in COMMAND.findall(text):
            wanted.append((command, None if block["skip"] else want.rstrip("\n")))
            for pattern, instead in INSTEAD.items():
                if re.fullmatch(pattern, command):
                    instead = instead.replace("{django}", django).replace("{port}", str(port))
                    command = re.sub(pattern, instead, command)
                    break
            command = command.replace("\n> ", "\n")
            script.append(f'(exit $status)\n{command}\nstatus=$?\necho "\n{MARK} $status"')
    # The Python that virtual environments are made from, and no package of this one.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(Path(sys._base_executable).resolve())
    environment = {
        "PATH": f"{tmp_path / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": os.environ["HOME"],
        "PYTHONUNBUFFERED": "1",  # as on a terminal, what is printed comes in its order
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


def test_no_migration_is_missing(example):
    command = ["manage.py", "makemigrations", "--check", "--dry-run"]
    process = subprocess.run(
        [sys.executable, *command], cwd=example, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout + process.stderr
