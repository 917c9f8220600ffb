"""A page's HTML as Markdown."""

from theme.markdown import to_markdown

PAGE = """<div id="main"><section id="a"><h1>The <code>page</code><a class="headerlink">#</a></h1>
<nav class="toc">Left out</nav>
<dl class="glance"><dt>What</dt><dd><p>It is.</p></dd><dt>x</dt><dt>y</dt><dd><p>Two.</p></dd></dl>
<p>Some <em>text</em>, a
<a href="b.html#s"><span>link</span></a>, <a href="c.zip">a zip</a>, <a href="https://x.org/b.html">
out</a>, 2 * 3, snake_case, <code>a_b</code> and <code>tick `</code>.</p>
<div class="engine"><p class="engine-name">SQLite</p>
<div class="doctest highlight-default"><div class="highlight"><pre>&gt;&gt;&gt; 1

2
</pre></div></div><p class="livedocs livedocs-run">Run on SQLite</p></div>
<div class="literal-block-wrapper"><div class="code-block-caption"><span class="caption-text">
<a href="examples/a.py.html#L-1">a.py</a></span></div>
<div class="highlight-default"><div class="highlight"><pre>x = "```"
</pre></div></div></div>
<ul><li><p>One</p><ul><li><p>deep</p></li></ul></li><li><p>Two</p></li></ul>
<table><thead><tr><th>A</th><th>B</th></tr></thead>
<tr><td><p>a | b</p></td><td><p>c</p><p>d</p></td></tr></table>
<div class="admonition"><p>Note</p><p>Mind.</p></div>
<div class="exercise"><p class="exercise-title">Change it</p><p>So.</p>
<details class="solution"><summary>Solution</summary><p>Thus.</p></details></div>
<figure><svg><title>Drawn</title><desc>a to b.</desc><text>a</text></svg></figure>
</section></div>"""

MARKDOWN = """# The `page`

- **What**: It is.
- **x**, **y**: Two.

Some *text*, a [link](b.md#s), [a zip](c.zip), [out](https://x.org/b.html), 2 \\* 3, snake_case, \
`a_b` and `` tick ` ``.

**On SQLite:**

```pycon
>>> 1

2
```

[a.py](examples/a.py.html#L-1):

````python
x = "```"
````

- One

  - deep

- Two

| A | B |
| --- | --- |
| a \\| b | c<br>d |

> Note
>
> Mind.

**Change it**

So.

**Solution**

Thus.

> Drawing: Drawn. a to b.
"""


def test_a_page_as_markdown():
    assert to_markdown(PAGE, {"b.html"}, "a.html").replace("> \n", ">\n") == MARKDOWN


def test_links_to_pages_go_by_where_the_page_is():
    html = '<div id="main"><p><a href="../b.html">b</a> <a href="../c.html">c</a></p></div>'
    wanted = "[b](../b.md) [c](../c.html)\n"
    assert to_markdown(html, {"b.html"}, "deep/a.html") == wanted
