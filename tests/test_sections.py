"""The parts of a built page that are in the search."""

from theme.search import read_words, sections_of

PAGE = """<html><nav><h2>Menu</h2></nav><div role="main" id="main">
<section id="top"><span id="label"></span><h1>A <em>page</em><a class="headerlink">#</a></h1>
<p>First<br>line
 of text.</p><div class="highlight"><pre>def f():

    return 1</pre></div>
<p class="livedocs livedocs-run">Run on SQLite</p>
<section id="below"><h2>Below</h2><svg><text>drawn</text></svg><p>Text.</p>
<section id="deep"><h3>Deep</h3><table><tr><td>one</td><td>two</td></tr></table></section>
</section>
<dl class="glossary"><dt id="term-tea">tea<a class="headerlink">#</a></dt><dd><p>A drink.</p></dd>
<dt id="term-pot">pot</dt><dd><p>Holds it.</p></dd></dl><p>After.</p>
</section></div><footer>Foot</footer></html>"""


def test_the_sections_of_a_page():
    found = [tuple(section.values()) for section in sections_of(PAGE)]
    assert found == [
        ("top", "A page", "First\nline of text.\ndef f():\n    return 1\nAfter.", []),
        ("below", "Below", "Text.", []),
        ("deep", "Deep", "one\ntwo", ["Below"]),
        ("term-tea", "tea", "A drink.", []),
        ("term-pot", "pot", "Holds it.", []),
    ]


def test_each_word_is_one_that_a_reader_writes():
    for said, ours in read_words().items():
        assert said == said.lower() and ours == ours.lower(), said
        assert not set(said.split()) & set(ours.split()) or len(said.split()) > 1
