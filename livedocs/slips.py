"""Finds text that a writer meant as a block, but that would not run, and says how to correct it."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from pygments.lexers import PythonLexer, get_lexer_by_name, shell
from pygments.util import ClassNotFound
from sybil import Document, Example, Region
from sybil.parsers.rest.lexers import DirectiveLexer

from livedocs.engines import (
    LIMITS,
    NAMES,
    STANDBYS,
    WRONG_LIMITS,
    WRONG_STANDBYS,
    of_page,
    of_tab,
)

PROJECT = re.compile(r"\A:project:[ \t]*(\S+)[ \t]*$", re.MULTILINE)
SKIP = re.compile(r'^( *)\.\. skip: next "([^"\n]+)"$', re.MULTILINE)
#: A caption that is a file's path, and whether the block is added to the end of that file.
A_FILE = re.compile(r"(?P<path>[\w-]+(/[\w.-]+)+|[\w-]+\.\w+)(?P<end>, at the end)?")
COMMENT = re.compile(r" *\.\.( (?![\w-]+::|[_|[]).*)?")
BLOCKS = ["code-block", "literalinclude"]
DIRECTIVES = DirectiveLexer(rf"(revealjs-)?({'|'.join(BLOCKS)})")
NO_BLOCK = (
    "this is not a block, so it is not run: write `.. code-block:: python`, with two dots, a space "
    "and two colons"
)
NO_LANGUAGE = "a block without a language is not run: write python, pycon, console, or text"

#: Patterns of wrong lines in a page's prose, and the messages for them.
LINES = {
    r"\.\. +(?!skip\b)[a-zA-Z][\w-]*:(?!:).*": (
        "this is a comment, which the reader does not see: a directive has two colons, .. name::"
    ),
    rf"(?!{SKIP.pattern})\.\.+ *skip\b.*": (
        'a skip needs a reason, which the reader sees: write exactly this: .. skip: next "why"'
    ),
    rf"([-*+#]|\d+\.)[-*+# ]* (>>> |\.\. ({'|'.join(BLOCKS)}|engine)::).*": (
        "a block must begin on its own line: in a list, put an empty line above it"
    ),
    r">>(?!> ).*": "this is not a prompt, so it is not run: a prompt is `>>> `, with a space",
    r"\$ .*": "a command is run only in a console block: `.. code-block:: console`",
    r"(?i):? *project *:.*": (
        "a project must be the page's first line, with nothing above it: `:project: functional`"
    ),
    r"(?!.*\.\. ).*::": NO_LANGUAGE,
    r"(?i):? *engines *:.*": WRONG_LIMITS,
    r"(?i):? *standby *:.*": WRONG_STANDBYS,
}


def report_slip(example: Example) -> str:
    return f"{example.parsed}\n"


def prose_of(document: Document) -> str:
    """Replace the page's blocks by spaces, except blocks at the prompt (pycon)."""
    text = document.text
    for block in DIRECTIVES(document):
        pycon = block.lexemes["arguments"] == "pycon"
        end = text.index("\n", block.start) if pycon else block.end
        blank = re.sub(r"[^\n]", " ", text[block.start : end])
        text = text[: block.start] + blank + text[end:]
    return text


def is_output(document: Document, start: int) -> bool:
    """Whether this position is inside an example, whose output is compared."""
    return any(region.start < start < region.end for _, region in document.regions)


def is_in_comment(text: str, start: int) -> bool:
    """Whether this position is inside a comment, which the reader does not see."""
    indent = len(re.match(" *", text[start:])[0])
    parents = re.findall(rf"^ {{0,{indent - 1}}}(?! ).+$", text[:start], re.MULTILINE)
    return bool(indent and parents and COMMENT.fullmatch(parents[-1]))


def parse_lines(document: Document) -> Iterable[Region]:
    for start, region in document.regions:
        if is_in_comment(document.text, start):
            region.evaluator = report_slip
            region.parsed = "this block is in a comment, so the reader does not see it"
    for match in re.finditer(r"^ *(\S.*?)\s*$", prose_of(document), re.MULTILINE):
        line, start = match[1], match.start(1)
        name = re.match(r"\.+ *(?:revealjs-)?([\w-]+)", line)
        if name and get_close_matches(name[1].lower(), [*BLOCKS, "sourcecode"], cutoff=0.75):
            wrong = NO_BLOCK
        elif tab := re.match(r"\.\. engine:: *(.*)", line):
            wrong = wrong_with_tab(document, tab[1])
        else:
            wrong = next((LINES[form] for form in LINES if re.fullmatch(form, line)), None)
        if wrong and not is_output(document, start) and not is_metadata(document.text, start):
            yield Region(start, start, f"{line}\n{wrong}", report_slip)


def is_metadata(text: str, start: int) -> bool:
    """Whether this position is one of a page's first lines, in the correct form."""
    if start == 0 and PROJECT.match(text):
        return True
    limits, standbys = LIMITS.match(text), STANDBYS.match(text)
    if standbys and standbys.start("line") == start:
        return True
    return bool(of_page(text)[1] and limits.start("line") == start)


def wrong_with_tab(document: Document, names: str) -> str | None:
    if not document.name.startswith("docs/"):
        return "only the site's pages have tabs for engines: a slide or a README can't have any"
    if not of_tab(names):
        return f"a tab names its engines: {', '.join(NAMES)}, or `PostgreSQL and MariaDB`"
    return None


def wrong_with_directive(block: Region, text: str) -> str | None:
    """Return what is wrong with a directive that shows code, or None."""
    language, source = block.lexemes["arguments"], block.lexemes["source"]
    caption = block.lexemes["options"].get("caption")
    if not re.match(r" *\.\. [a-z-]+::[ \n]", text):
        return NO_BLOCK
    if caption is not None and not A_FILE.fullmatch(caption):
        return f"a caption must be a path in the project, and this is not a path: {caption}"
    if block.lexemes["directive"].endswith("literalinclude"):
        return None if language else "this literalinclude names no file: `.. literalinclude:: path`"
    if not source.strip():
        return "the block is empty: indent its lines by three spaces"
    if caption:
        return None
    if language == "python" and source.startswith(">>>"):
        return "a block with a prompt is not python but pycon: `.. code-block:: pycon`"
    if language == "pycon" and not re.search("^>>> ", source, re.MULTILINE):
        return "this pycon block has no prompt: write a line that begins with `>>> `"
    return other_name(language)


def other_name(language: str | None) -> str | None:
    """Return why a block of that language is not run, although it may be Python or commands.

    Returns "" for a language whose blocks are run, and None for another language, such as SQL.
    """
    if language in ("python", "pycon", "console"):
        return ""
    if language in (None, "default"):
        return NO_LANGUAGE
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return (
            f"there is no language {language}, so this is not run: write python, console, or text"
        )
    # NumPy and IPython are Python; Fish and PowerShell are shells.
    if lexer.name.startswith(("Python", "IPython")) or isinstance(lexer, PythonLexer):
        return f"a block of {language} is not run: write python, or pycon for a block with a prompt"
    if type(lexer).__module__ == shell.__name__:
        return f"a block of {language} is not run: write console, with the prompt `$ `"
    return None
