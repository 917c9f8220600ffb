"""The README lists all files, and continuous integration runs its commands."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.rst").read_text()


def test_the_map_names_each_file_and_folder_at_the_top():
    named = set(re.findall(r"^``([^`]+)``  ", README, re.MULTILINE))
    here = {path.name + "/" * path.is_dir() for path in ROOT.iterdir() if path.name[0] not in "._"}
    assert named == here - {"LICENSE"}


def test_each_command_is_a_target():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = set(re.findall(r"^make (\w+)", listed.stdout, re.MULTILINE))
    commands = re.findall(r"^ +\$ make (\w+)$", README, re.MULTILINE)
    assert commands == ["site", "test"]
    assert set(commands) <= targets


def test_the_changelog_begins_with_the_version():
    changelog = (ROOT / "CHANGELOG.rst").read_text()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(r"^(\d+\.\d+\.\d+) ", changelog, re.MULTILINE)[1] == version
