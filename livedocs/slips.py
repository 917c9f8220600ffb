"""What a writer meant as a block, and is none that runs: each is told, with its cure."""

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
#: A caption that is a file's path, and whether the block goes to the end of that file.
A_FILE = re.compile(r"(?P<path>[\w-]+(/[\w.-]+)+|[\w-]+\.\w+)(?P<end>, at the end)?")
COMMENT = re.compile(r" *\.\.( (?![\w-]+::|[_|[]).*)?")
BLOCKS = ["code-block", "literalinclude"]
DIRECTIVES = DirectiveLexer(rf"(revealjs-)?({'|'.join(BLOCKS)})")
NO_BLOCK = (
    "this is no block, and is not run: write `.. code-block:: python`, dots, spaces and colons"
)
NO_LANGUAGE = "a block without a language is not run: it is python, pycon, console, or text"

#: Lines of a page's prose, and what is wrong with them.
LINES = {
    r"\.\. +(?!skip\b)[a-zA-Z][\w-]*:(?!:).*": (
        "this is a comment, which nobody sees: a directive has two colons, .. name::"
    ),
    rf"(?!{SKIP.pattern})\.\.+ *skip\b.*": (
        "a skip gives its reason, which the reader sees, and is written exactly so: "
        '.. skip: next "why"'
    ),
    rf"([-*+#]|\d+\.)[-*+# ]* (>>> |\.\. ({'|'.join(BLOCKS)}|engine)::).*": (
        "a block begins on a line of its own: in a list, put an empty line above it"
    ),
    r">>(?!> ).*": "this is no prompt, and is not run: a prompt is `>>> `, with its space",
    r"\$ .*": "a command is not run but in a block: `.. code-block:: console`",
    r"(?i):? *project *:.*": (
        "the page's first line names its project, with nothing above it: `:project: functional`"
    ),
    r"(?!.*\.\. ).*::": NO_LANGUAGE,
    r"(?i):? *engines *:.*": WRONG_LIMITS,
    r"(?i):? *standby *:.*": WRONG_STANDBYS,
}


def report_slip(example: Example) -> str:
    return f"{example.parsed}\n"


def prose_of(document: Document) -> str:
    """The page's text with spaces for its blocks, but for what is typed at a prompt."""
    text = document.text
    for block in DIRECTIVES(document):
        pycon = block.lexemes["arguments"] == "pycon"
        end = text.index("\n", block.start) if pycon else block.end
        blank = re.sub(r"[^\n]", " ", text[block.start : end])
        text = text[: block.start] + blank + text[end:]
    return text


def is_output(document: Document, start: int) -> bool:
    """Whether what begins there is within an example, whose output is compared."""
    return any(region.start < start < region.end for _, region in document.regions)


def is_in_comment(text: str, start: int) -> bool:
    """Whether what begins there is indented below a comment, which is not shown."""
    indent = len(re.match(" *", text[start:])[0])
    parents = re.findall(rf"^ {{0,{indent - 1}}}(?! ).+$", text[:start], re.MULTILINE)
    return bool(indent and parents and COMMENT.fullmatch(parents[-1]))


def parse_lines(document: Document) -> Iterable[Region]:
    for start, region in document.regions:
        if is_in_comment(document.text, start):
            region.evaluator, region.parsed = report_slip, "it stands in a comment, and is not seen"
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
    """Whether what begins there is one of a page's first lines, and as it is to be."""
    if start == 0 and PROJECT.match(text):
        return True
    limits, standbys = LIMITS.match(text), STANDBYS.match(text)
    if standbys and standbys.start("line") == start:
        return True
    return bool(of_page(text)[1] and limits.start("line") == start)


def wrong_with_tab(document: Document, names: str) -> str | None:
    if not document.name.startswith("docs/"):
        return "only the site has tabs for engines: a slide shows one engine, a README none"
    if not of_tab(names):
        return f"a tab is of engines that run: {', '.join(NAMES)}, or `PostgreSQL and MariaDB`"
    return None


def wrong_with_directive(block: Region, text: str) -> str | None:
    """What is wrong with a directive that shows code, whose text begins so."""
    language, source = block.lexemes["arguments"], block.lexemes["source"]
    caption = block.lexemes["options"].get("caption")
    if not re.match(r" *\.\. [a-z-]+::[ \n]", text):
        return NO_BLOCK
    if caption is not None and not A_FILE.fullmatch(caption):
        return f"a caption is a file's path, as the project has it, and this is none: {caption}"
    if block.lexemes["directive"].endswith("literalinclude"):
        return None if language else "it names no file: `.. literalinclude:: path`"
    if not source.strip():
        return "the block is empty: its lines are indented, by three spaces"
    if caption:
        return None
    if language == "python" and source.startswith(">>>"):
        return "what is typed at a prompt is not python but pycon: `.. code-block:: pycon`"
    if language == "pycon" and not re.search("^>>> ", source, re.MULTILINE):
        return "a pycon block has no prompt: a line that begins with `>>> `"
    return other_name(language)


def other_name(language: str | None) -> str | None:
    """Why a block of that language is not run, though it may well be Python or commands.

    "" for a language whose blocks are run, None for one that is something else.
    """
    if language in ("python", "pycon", "console"):
        return ""
    if language in (None, "default"):
        return NO_LANGUAGE
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return f"a block of {language} is not run, and not known: it is python, console, or text"
    # NumPy and IPython are Python; Fish and PowerShell are shells.
    if lexer.name.startswith(("Python", "IPython")) or isinstance(lexer, PythonLexer):
        return f"a block of {language} is not run: its language is python, or pycon at a prompt"
    if type(lexer).__module__ == shell.__name__:
        return f"a block of {language} is not run: its language is console, its prompt `$ `"
    return None
