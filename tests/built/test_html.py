"""The Nu checker (which needs Java, and a jar from npm) finds no error in the built HTML."""

import shutil
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / "_build"
JAR = BUILD / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"


@pytest.mark.skipif(
    not (JAR.exists() and shutil.which("java")),
    reason="no Nu checker: install Java, and npm install --prefix _build vnu-jar",
)
def test_the_pages_and_the_deck_are_valid():
    pages = sorted(path for path in (BUILD / "site").rglob("*.html") if "_static" not in path.parts)
    assert pages, "make site builds them"
    command = ["java", "-jar", JAR, "--errors-only", *pages]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
