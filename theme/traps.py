"""An entry for each message, and tables of all entries, each with its message and its fix.

.. code-block:: rst

   .. _trap-readonly:

   ``attempt to write a readonly database``
   ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~

   .. trap::
      :fix: Write ``db_for_write``, which returns the primary.
      :on: SQLite
      :tickets: 17875

The title of the section is the message, or what is seen. A label that begins with ``trap-`` is the
stable address of the entry. With ``:silent:``, there is no error, and the data is wrong.
``:on:`` says where the message is seen, if it is not seen on all engines. ``:tickets:`` are
numbers of Django's tickets.

``.. traps:: silent`` is a table of all silent entries. ``.. traps:: traps/replicas`` is a table of
the entries of that page that are not silent. The text of a fix has its one home in the entry.
"""

from dataclasses import dataclass

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

TICKET = "https://code.djangoproject.com/ticket/{}"
NO_ERROR = "No error, wrong data"


class trap(nodes.Part, nodes.Element):
    """The fix of an entry, with what else a table says about the entry."""


class trap_table(nodes.General, nodes.Element):
    """A placeholder for a table of entries, until all pages are read."""


@dataclass
class Entry:
    """What a row of a table shows."""

    title: list[nodes.Node]
    section: str
    fix: list[nodes.Node]
    engines: str
    silent: bool


class Trap(SphinxDirective):
    option_spec = {
        "fix": directives.unchanged_required,
        "on": directives.unchanged_required,
        "tickets": directives.unchanged_required,
        "silent": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        if "fix" not in self.options:
            raise self.error("a trap needs :fix:, which says what to do now")
        fix, messages = self.parse_inline(" ".join(self.options["fix"].split()))
        if any(node.children and not isinstance(node, nodes.literal) for node in fix):
            raise self.error("a fix is text, which tables of other pages repeat: it has no links")
        node = trap("", *fix, engines=self.options.get("on", ""), silent="silent" in self.options)
        box = nodes.paragraph(classes=["trap"])
        if node["silent"]:
            box += [nodes.strong("", NO_ERROR + "."), nodes.Text(" ")]
        if node["engines"]:
            box += nodes.Text(f"On {node['engines']}. ")
        box += [nodes.strong("", "Fix:"), nodes.Text(" "), node]
        for number in self.options.get("tickets", "").replace(",", " ").split():
            link = nodes.reference("", f"Ticket {number}", refuri=TICKET.format(number))
            box += [nodes.Text(" "), link, nodes.Text(".")]
        return [box, *messages]


class Traps(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return [trap_table(of=self.arguments[0])]


def note_traps(app: Sphinx, doctree: nodes.document) -> None:
    """Store the entries of a page, and put the text of each fix in its place."""
    entries = []
    for node in list(doctree.findall(trap)):
        section = node.parent.parent
        ids = [id for id in section["ids"] if id.startswith("trap-")]
        if not ids:
            problem = "a trap needs a label that begins with trap- above its section's title"
            logger.warning(problem, location=node.parent, type="theme")
            ids = section["ids"]
        title = next(section.findall(nodes.title)).deepcopy()
        fix = [child.deepcopy() for child in node.children]
        entries.append(Entry(title.children, ids[0], fix, node["engines"], node["silent"]))
        node.replace_self(node.children)
    traps_of(app.env)[app.env.docname] = entries
    if any(doctree.findall(trap_table)):
        app.env.metadata[app.env.docname]["traps"] = True


def traps_of(env: BuildEnvironment) -> dict[str, list[Entry]]:
    if not hasattr(env, "traps"):
        env.traps = {}
    return env.traps


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    traps_of(env).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
    traps_of(env).update({name: traps_of(other).get(name, []) for name in docnames})


def pages_with_tables(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Return the pages to write again when any page was read."""
    return [name for name in env.found_docs if env.metadata[name].get("traps")]


def draw_tables(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for place in list(doctree.findall(trap_table)):
        traps, of = traps_of(app.env), place["of"]
        pages = sorted(traps, key=order_in(app.env)) if of == "silent" else [of]
        rows = [
            (page, entry)
            for page in pages
            for entry in traps.get(page, [])
            if entry.silent == (of == "silent")
        ]
        if not rows:
            problem = f"there are no traps to list: {of} is not 'silent', and no page with traps"
            logger.warning(problem, location=docname, type="theme")
        place.replace_self(table(app, docname, rows) if rows else [])


def order_in(env: BuildEnvironment):
    """Return the place of a page in the menu's order."""
    names = [name for tree in env.toctree_includes.values() for name in tree]
    return lambda page: names.index(page) if page in names else len(names)


def table(app: Sphinx, docname: str, rows: list[tuple[str, Entry]]) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in (45, 55)), cols=2)
    group += nodes.thead("", row([nodes.Text("Message or symptom")], [nodes.Text("Do this now")]))
    body = nodes.tbody()
    for page, entry in rows:
        uri = f"{app.builder.get_relative_uri(docname, page)}#{entry.section}"
        title, fix = ([node.deepcopy() for node in part] for part in (entry.title, entry.fix))
        message = [nodes.reference("", "", *title, refuri=uri, internal=True)]
        if entry.engines:
            message.append(nodes.Text(f" (on {entry.engines})"))
        body += row(message, fix)
    group += body
    return nodes.table("", group, classes=["traps", "colwidths-given"])


def row(*cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


def setup(app: Sphinx) -> dict:
    for node in (trap, trap_table):
        app.add_node(node)
    app.add_directive("trap", Trap)
    app.add_directive("traps", Traps)
    app.connect("doctree-read", note_traps)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("env-updated", pages_with_tables)
    # Before the audit and the other listeners, which then see a table like any other.
    app.connect("doctree-resolved", draw_tables, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
