"use strict";

// The search of search.html, over sections. The index, searchindex.js, is loaded when it is first needed.
// A section scores more for rare words of the query (BM25), and still more if they are in its title, or follow
// each other as in the query. No word is required, because a pasted message may have names of the reader's own.

const TITLE = 5, PAGE = 1, MORE = 0.5, LESS = 0.5, RARELY = 0.2, SHOWN = 20, EXCERPT = 260;
// Words without a meaning for the search.
const COMMON = new Set("a an and are be can do does for from how i in is it my not of on or set the this to up use what why with".split(" "));
const split = (text) => text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) || [];
// "databases" and "database" are one word, and so are "moving" and "moved". Names of code are not changed.
const stem = (word) => (/[_\d]/.test(word) || word.length < 4 ? word
  : word.replace(/(?<=...)(ies|ied|y)$/, "i").replace(/(?<=...)(ings?|ed|es|s)$/, "").replace(/(?<=...)e$/, "")
    .replace(/([^aeiouls])\1$/, "$1"));
const stems = (text) => split(text).map(stem);
const pairsOf = (words) => words.slice(1).map((word, at) => `${words[at]} ${word}`);

class Index {
  constructor({ pages, words }) {
    this.sections = [];
    for (const [page, sections] of pages) {
      for (const [id, title, text, ...above] of sections) {
        const body = stems(text), heading = stems(title);
        const weights = new Map();
        const add = (words, weight) => {
          for (const word of words) {
            weights.set(word, (weights.get(word) || 0) + weight);
            if (word.includes("_")) for (const part of new Set(stems(word.replaceAll("_", " "))))
              weights.set(part, (weights.get(part) || 0) + weight / 2);
          }
        };
        add(body, 1);
        add(heading, TITLE);
        add(stems(above.join(" ")), PAGE);
        if (id !== sections[0][0]) add(stems(sections[0][1]), PAGE);
        this.sections.push({
          page, id, title, text, above, weights, length: body.length + heading.length,
          pageTitle: sections[0][1], first: id === sections[0][0],
          heading: new Set(heading), pairs: new Set(pairsOf(body)), titlePairs: new Set(pairsOf(heading)),
        });
      }
    }
    this.average = this.sections.reduce((sum, { length }) => sum + length, 0) / this.sections.length;
    this.among = new Map(); // The number of sections that have each word.
    for (const { weights } of this.sections)
      for (const word of weights.keys()) this.among.set(word, (this.among.get(word) || 0) + 1);
    this.words = Object.entries(words).map(([said, ours]) => [stems(said), stems(ours), ours])
      .sort(([one], [other]) => other.length - one.length);
  }

  rarity(word) {
    const among = this.among.get(word) || 0;
    return Math.log(1 + (this.sections.length - among + 0.5) / (among + 0.5));
  }

  // The query as words: without a module before a class, and with the site's words for the reader's.
  read(query) {
    const typed = stems(query.replace(/\b(?:\w+\.)+(?=[A-Z]\w*(?:Error|Exception|Forbidden|DoesNotExist|Configured))/g, ""));
    const inside = ` ${typed.join(" ")} `;
    const found = [];
    let rest = inside;
    for (const entry of this.words) { // The longest come first: "master slave" before "slave".
      const said = ` ${entry[0].join(" ")} `;
      if (rest.includes(said)) found.push(entry), (rest = rest.replace(said, "  "));
    }
    const weights = new Map(typed.map((word) => [word, COMMON.has(word) ? RARELY : rest.includes(` ${word} `) ? 1 : LESS]));
    const more = rest.trim() ? MORE : 1; // If the site has words for all of the query, these count in full.
    for (const [, ours] of found)
      for (const word of ours) if (!weights.has(word)) weights.set(word, COMMON.has(word) ? RARELY : more);
    const last = typed.at(-1);
    if (last && last.length > 2 && !this.among.has(last)) // The reader may still be typing it.
      for (const word of this.among.keys()) if (word.startsWith(last)) weights.set(word, MORE);
    return {
      weights, also: found.map(([, , ours]) => ours),
      pairs: new Map([...found.flatMap(([, ours]) => pairsOf(ours)).map((pair) => [pair, more]), ...pairsOf(typed).map((pair) => [pair, 1])]),
      unknown: [...new Set(split(query))].filter((word) => !this.among.has(stem(word))),
    };
  }

  search(query) {
    const asked = this.read(query);
    const results = [];
    let most = 0;
    for (const [word, weight] of asked.weights) if (this.among.has(word)) most += weight * this.rarity(word);
    for (const section of this.sections) {
      let score = 0, has = 0;
      const room = 0.5 + 0.5 * section.length / this.average;
      for (const [word, weight] of asked.weights) {
        const often = section.weights.get(word);
        if (!often) continue;
        const worth = weight * this.rarity(word);
        score += worth * 2.2 * often / (often + 1.2 * room);
        has += worth;
      }
      if (!score) continue;
      for (const [pair, weight] of asked.pairs) {
        const worth = weight * pair.split(" ").reduce((sum, word) => sum + this.rarity(word), 0) / 2;
        if (section.pairs.has(pair)) score += worth;
        if (section.titlePairs.has(pair)) score += worth * 2;
      }
      // A title with the words of the query, and few others.
      let shared = 0, all = 0;
      for (const word of section.heading) {
        all += this.rarity(word);
        const weight = asked.weights.get(word) || 0;
        shared += (weight === RARELY ? 1 : weight) * this.rarity(word);
      }
      if (shared) score += 2 * shared * shared / all;
      if (shared === all && section.heading.size > 1) score *= 1.3;
      // It has links or other sections, but no answers.
      if (/what to read next/i.test(section.title) || !section.text) score /= 2;
      results.push({ section, score: score * (has / most) });
    }
    results.sort((one, other) => other.score - one.score);
    return { ...asked, results };
  }
}

// The part of a section's text that has most words of the query, as nodes. These words are marked.
function excerptOf({ text }, asked, index) {
  const words = [...text.matchAll(/[\p{L}\p{N}_]+/gu)].map((found) => ({
    start: found.index, end: found.index + found[0].length, stem: stem(found[0].toLowerCase()),
  }));
  const { pairs } = asked;
  words.forEach((word, at) => {
    word.worth = (asked.weights.get(word.stem) || 0) * index.rarity(word.stem);
    word.paired = at > 0 && pairs.has(`${words[at - 1].stem} ${word.stem}`);
  });
  let best = 0, most = -1;
  for (let first = 0, last = 0, sum = 0; first < words.length; first++) {
    for (; last < words.length && words[last].end - words[first].start <= EXCERPT; last++)
      sum += words[last].worth * (words[last].paired ? 3 : 1);
    if (words[first].worth && sum > most) [best, most] = [first, sum];
    sum -= words[first].worth * (words[first].paired ? 3 : 1);
  }
  // Begin a little earlier, at the start of a line or sentence if there is one.
  const found = words.length ? words[best].start : 0;
  const before = text.slice(Math.max(0, found - 80), found);
  const begin = found - (before.match(/(?<=\n|[.:] )[^\n]*$/) || before.match(/(?<=\s|^)\S*$/))[0].length;
  const end = Math.min(text.length, Math.max(begin + EXCERPT, found + 60));
  const nodes = [begin > 0 && text[begin - 1] !== "\n" ? "… " : ""];
  let at = begin;
  for (const word of words) {
    if (!word.worth || word.start < begin || word.end > end) continue;
    if (word.start > at) nodes.push(text.slice(at, word.start));
    nodes.push(Object.assign(document.createElement("mark"), { textContent: text.slice(word.start, word.end) }));
    at = word.end;
  }
  nodes.push(text.slice(at, end).replace(end < text.length ? /[^\s]*$/ : /$/, "") + (end < text.length ? "…" : ""));
  return nodes;
}

// The page.
const form = document.querySelector("#main form"), results = document.getElementById("search-results");
const progress = document.getElementById("search-progress");
let index = null, script = null;

function show(query) {
  const asked = index.search(query), found = asked.results.slice(0, SHOWN);
  const all = asked.results.length;
  const said = [!all ? "Nothing was found. Search for a part of the message, without your own names."
    : all > SHOWN ? `The ${SHOWN} best sections:` : all === 1 ? "One section:" : `${all} sections, the best first:`];
  if (asked.also.length) said.unshift(`Also searched for: ${asked.also.join(", ")}.`);
  if (all && asked.unknown.length) said.unshift(`Not found on any page: ${asked.unknown.join(", ")}.`);
  progress.textContent = said.join(" ");
  results.replaceChildren(...found.map(({ section }) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = section.page + (section.first ? "" : `#${section.id}`);
    link.textContent = section.title;
    item.append(link);
    if (!section.first) {
      const place = document.createElement("span");
      place.textContent = [section.pageTitle, ...section.above].join(" / ");
      item.append(place);
    }
    const excerpt = document.createElement("p");
    excerpt.append(...excerptOf(section, asked, index));
    item.append(excerpt);
    return item;
  }));
}

function search() {
  const query = form.q.value.trim();
  document.title = document.title.replace(/^.*?(?=Search)/, query ? `${query}: ` : "");
  if (!query) {
    progress.textContent = "";
    results.replaceChildren();
  } else if (index) show(query);
  else if (!script) {
    progress.textContent = "Searching…";
    script = document.createElement("script");
    script.src = form.dataset.index;
    script.onerror = () => { progress.textContent = "The search index could not be loaded. Reload this page."; };
    document.head.append(script);
  }
}

// searchindex.js calls this function. It is a script, not JSON, so that it also loads from a folder.
function startSearch(data) {
  index = new Index(data);
  search();
}

let waiting = 0;
form.q.value = new URLSearchParams(location.search).get("q") || "";
document.querySelector("#nav [name=q]").value = form.q.value;
form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(search, 150);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  history.pushState(null, "", `?${new URLSearchParams({ q: form.q.value })}`);
  search();
});
addEventListener("popstate", () => {
  form.q.value = new URLSearchParams(location.search).get("q") || "";
  search();
});
search();
