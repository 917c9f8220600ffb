"""Words that give away a sentence which has to be read twice.

``python tests/prose.py docs/routing.rst`` lists them, by line, and says how many of each kind the
page has in 1,000 words of its prose. prose.toml names the words, and how many are too many.
"""

import io
import re
import sys
import tokenize
import tomllib
from bisect import bisect
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

#: Directives whose content is code, a list of files, or nothing: no prose.
NO_PROSE = {
    "code-block", "revealjs-code-block", "literalinclude", "revealjs-literalinclude", "toctree",
    "topology", "timeline", "decisions", "include", "image", "only", "csv-table", "verified-pages",
}  # fmt: skip
DIRECTIVE = re.compile(r"[\s*-]*\.\. (?P<name>[a-z-]+):: *(?P<rest>.*)")
OPTION = re.compile(r"\s*:(?P<name>[\w-]+):(?: +(?P<rest>.*))?$")
#: Options and fields that a reader sees as sentences.
SENTENCES = {"what", "when", "not", "cost", "engines", "fix"}
UNDERLINE = re.compile(r"\s*(?P<line>[=\-~^#*+])(?:(?P=line)|\s){2,}$")
MARK_UP = [
    (re.compile(r"``.+?``"), "X"),  # an identifier is a word of its own, which no rule names
    (re.compile(r":[a-z:]+:`[!~]?(?P<text>[^`<]*[^`<\s])(?:\s*<[^`]*>)?`"), r"\g<text>"),
    (re.compile(r"`(?P<text>[^`<]+?)\s*<[^`]*>`__?"), r"\g<text>"),
    (re.compile(r"[*|`]"), ""),
]
#: So few are never too many, however short a page is.
FEW = 3
#: f-strings are strings before Python 3.12.
SAID = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
WORD = re.compile(r"[A-Za-z][\w'’-]*|\d[\d.,:%]*")
RULES = tomllib.loads(Path(__file__).with_name("prose.toml").read_text())


@dataclass
class Text:
    """The prose of a file: its lines, and the number that each has in the file."""

    lines: list[str]
    numbers: list[int]

    @property
    def words(self) -> int:
        return sum(len(WORD.findall(line)) for line in self.lines)

    def find(self, words: str) -> list[tuple[int, str]]:
        """Return the line's number and the text of each match, which may go on on the next line."""
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line) + 1)
        pattern = re.compile(words.replace(" ", r"\s+"), re.IGNORECASE)
        return [
            (self.numbers[bisect(starts, match.start()) - 1], " ".join(match[0].split()))
            for match in pattern.finditer("\n".join(self.lines))
        ]


def of_page(source: str) -> Text:
    """Return what is prose in reStructuredText: no code, no options, no mark-up."""
    text = Text([], [])
    code = None  # how far the directive is indented whose content is passed by
    session = False
    for number, (line, below) in enumerate(pairwise([*source.splitlines(), ""]), 1):
        bare = line.lstrip(" *-")
        indent = len(line) - len(line.lstrip())
        if not bare:
            session = False
            content = "\0"  # no phrase goes on after the end of its paragraph
        elif session or (code is not None and indent > code):
            continue
        else:
            code = None
            if bare.startswith(">>> "):
                session = True
                continue
            if found := DIRECTIVE.match(line):
                if found["name"] in NO_PROSE:
                    code = line.index("..")
                continue
            if bare.startswith((".. ", "__ ")):
                code = indent
                continue
            if UNDERLINE.match(line):
                continue
            if found := OPTION.match(line):
                if found["name"] not in SENTENCES or not found["rest"]:
                    continue
                line = found["rest"].split(": ", 1)[-1]
            if line.endswith("::"):
                code = indent
            content = line
            for pattern, replacement in MARK_UP:
                content = pattern.sub(replacement, content)
            if not below.strip():
                content = content.rstrip(" :")  # it leads to a block or a list
        text.lines.append(content)
        text.numbers.append(number)
    return text


def of_code(source: str) -> Text:
    """Return the lines of a program's messages, docstrings and comments."""
    text = Text([], [])
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in SAID:
            lines = token.string.splitlines()
            text.lines += lines
            text.numbers += range(token.start[0], token.start[0] + len(lines))
    return text


def problems(path: Path) -> list[str]:
    """Return a line for each private word, and one for each kind of word that is too frequent."""
    source = path.read_text()
    text = of_page(source) if path.suffix == ".rst" else of_code(source)
    found = [
        f"{path}:{number}: {match!r}: write {rule['write']}"
        for rule in RULES["never"]
        for number, match in text.find(rule["words"])
    ]
    if path.suffix == ".rst":
        for rule in RULES["often"]:
            matches = text.find(rule["words"])
            most = int(max(FEW, rule["most"] * text.words / 1000))
            if len(matches) > most:
                lines = ", ".join(str(number) for number, _ in matches)
                found.append(
                    f"{path}: {rule['name']}: {len(matches)} in {text.words:,} words, and "
                    f"{most} are enough: lines {lines}"
                )
    return found


if __name__ == "__main__":
    for name in sys.argv[1:]:
        text = of_page(Path(name).read_text())
        print(f"{name}: {text.words:,} words of prose. In 1,000 of them:")
        for rule in RULES["often"]:
            rate = 1000 * len(text.find(rule["words"])) / max(1, text.words)
            print(f"   {rule['name']}: {rate:.1f}, at most {rule['most']}")
        print("\n".join(problems(Path(name))))
