"""The content of a built page, which is read from the HTML, for the search and for Markdown.

All pages are read when the site is built, also those that this build did not write.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

#: Elements without an end tag.
VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
#: Elements that are not part of the text: the marks of blocks, and navigation in the page.
ASIDE = {"script", "style", "button", "nav"}
ASIDE_CLASSES = {"headerlink", "live", "livedocs"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list["Element | str"] = field(default_factory=list)

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    @property
    def is_aside(self) -> bool:
        return self.tag in ASIDE or bool(self.classes & ASIDE_CLASSES)

    def find(self, tag: str) -> Iterator["Element"]:
        """Yield all elements with this tag inside this element, in order."""
        for child in self.elements():
            if child.tag == tag:
                yield child
            yield from child.find(tag)

    def elements(self) -> Iterator["Element"]:
        return (child for child in self.children if isinstance(child, Element))

    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text() for child in self.children)


class Reader(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.main: Element | None = None
        self._open: list[Element] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        element = Element(tag, {name: value or "" for name, value in attributes})
        if self._open:
            self._open[-1].children.append(element)
        elif element.attributes.get("id") == "main":
            self.main = element
        else:
            return
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:  # An element of a drawing.
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._open and tag not in VOID and self._open.pop().tag != tag:
            raise ValueError(f"</{tag}> has no start tag, at {self.getpos()}")

    def handle_data(self, text: str) -> None:
        if self._open:
            self._open[-1].children.append(text)


def read_main(html: str) -> Element:
    """Return the main part of a page: its text, without the menu, the header and the footer."""
    main = Reader(html).main
    if main is None:
        raise ValueError('the page has no part with id="main"')
    return main
