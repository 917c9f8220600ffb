// A page that runs in the reader's browser. Fetched when the reader presses the button.
const live = document.getElementById("live");
const button = live.querySelector("button");
const { project, zips, packages, bytes } = live.dataset;
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// The blocks, as the build marked them. What is only for other engines, and a solution, are not run.
const FILE = /^(.*?)(, at the end)?$/;
const KINDS = { "place-file": "file", "include-file": "part", "run-console": "console", "run-python": "python" };
const isHere = (element) => {
  const name = element.closest(".engine")?.querySelector(".engine-name").textContent;
  return !element.closest(".solution") && (!name || name.includes("SQLite"));
};
// A file in another language than Python has no mark, and is not changed here. It is put in its place.
const marks = [...document.querySelectorAll("#main :is(.livedocs-run.on-sqlite, .literal-block-wrapper)")].filter((element) =>
  isHere(element) && (element.matches(".livedocs") || !(element.nextElementSibling?.matches(".livedocs") || element.querySelector(".caption-text a"))));
const blocks = marks.map((mark, index) => {
  const marked = mark.matches(".livedocs"), whole = marked ? mark.previousElementSibling : mark;
  const pre = whole.querySelector("pre"), shown = pre.textContent;
  const [, path, atEnd] = FILE.exec(whole.querySelector(".caption-text")?.textContent || "");
  let kind = marked ? KINDS[Object.keys(KINDS).find((name) => mark.classList.contains(name))] : "file";
  if (kind === "python" && shown.startsWith(">>>")) kind = "doctest";
  if (atEnd) kind = "end";
  return { mark: marked && mark, pre, path, kind, shown, html: pre.innerHTML, index, ran: null, exercise: mark.closest(".exercise") };
});
const textOf = (block) => block.pre.innerText.replace(/\n*$/, "\n");
const isEdited = (block) => textOf(block) !== block.shown.replace(/\n*$/, "\n");
const goalOf = (block) => {
  const isLast = block.exercise && blocks.findLast(({ exercise }) => exercise === block.exercise) === block;
  return isLast ? [...block.exercise.querySelectorAll(".solution pre")].at(-1).textContent : null;
};

// The bar at the bottom of the window, and the databases beside the page.
const status = make("p", { id: "live-status" });
status.setAttribute("role", "status");
const progress = make("progress", { max: 1, value: 0 });
progress.setAttribute("aria-label", "Progress");
const action = (text, act) => make("button", { type: "button", textContent: text, onclick: act });
const runAll = action("Run the page", () => runFrom(0));
const stop = action("Stop", () => close("Stopped. Your changes are still on the page."));
const look = action("Databases", () => openPanel(panel.hidden));
const save = action("Download the project", download);
const panel = make("section", { id: "live-databases", hidden: true, tabIndex: 0 });
panel.setAttribute("aria-label", "The databases of this page");
look.setAttribute("aria-expanded", "false");
look.setAttribute("aria-controls", panel.id);
const bar = make("section", { id: "live-bar" }, status, progress, make("div", {}, runAll, stop, look, save));
bar.setAttribute("aria-label", "This page in your browser");

const FETCHING = "Fetching Python and Django (13 MB the first time)";
let worker, answered, busy = false, mixed = false;
const times = {};
const say = (text, done) => {
  status.textContent = text;
  if (done !== undefined) progress.value = done;
};
const ask = (message) => new Promise((resolve, reject) => {
  answered = { resolve, reject };
  worker.postMessage(message);
});

async function open() {
  say(FETCHING, 0);
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => {
    if (data.fetched) say(FETCHING, data.fetched);
    else if (data.doing) say(data.doing);
    else if (data.failed) answered.reject(new Error(data.failed));
    else answered.resolve(data.answer);
  };
  worker.onerror = (event) => answered.reject(new Error(event.message || "the worker did not load"));
  times.unpacked = await ask({ ask: "open", project, zips: zips.split(" ").filter(Boolean), packages: packages.split(" "), bytes: Number(bytes) });
}

function close(text) {
  worker?.terminate();
  worker = undefined;
  for (const block of blocks) block.ran = null;
  mixed = false;
  answered?.reject(new Error("stopped"));
  setBusy(false);
  say(text, 0);
}

function setBusy(now) {
  busy = now;
  stop.disabled = !now;
  for (const element of [runAll, save, look]) element.disabled = now || (element !== runAll && !worker);
  document.documentElement.dataset.live = now ? "running" : worker ? "ready" : "closed";
}

// Run a block and those below it. Those above it run again if one of them was changed, or if the state
// that they left is gone.
async function runFrom(index, last = blocks.length - 1) {
  if (busy) return;
  setBusy(true);
  try {
    if (!worker) await open();
    // A single block runs in the state that there is. All else runs in the state that the page had there.
    const alone = last === index && blocks[index].ran !== null;
    let next = index;
    if (!alone) {
      const changed = blocks.findIndex((block) => block.ran !== textOf(block));
      if (mixed || blocks[index].ran !== null || (changed >= 0 && changed < index))
        next = await ask({ ask: "rewind", to: changed < 0 ? index : Math.min(index, changed) });
      for (const block of blocks.slice(next)) block.ran = null;
    }
    mixed = alone;
    for (; next <= last; next++) {
      say(`${next < index ? "First again: b" : "B"}lock ${next + 1} of ${blocks.length}`, next / blocks.length);
      await runBlock(blocks[next], alone);
    }
    sum();
    if (!panel.hidden) await fillPanel();
  } catch (error) {
    if (worker) close(`It failed: ${error.message.split("\n").pop()}`);
  }
  setBusy(false);
}

async function runBlock(block, alone) {
  const began = performance.now(), text = textOf(block);
  const results = await ask({ ask: "run", kind: block.kind, text, path: block.path, shown: block.shown, number: block.index + 1, goal: goalOf(block), alone });
  if (!alone) block.ran = text;
  block.last = text;
  block.seconds = (performance.now() - began) / 1000;
  block.results = results;
  times.first ??= performance.timeOrigin + performance.now();
  show(block);
}

// What a block printed here, in place of the mark below it. The row has the height of the mark.
function addRow(block) {
  const { pre, mark, index } = block, number = index + 1;
  if (!mark) return;
  block.output = make("pre", { id: `live-output-${number}`, className: "live-output", hidden: true, tabIndex: 0 });
  block.verdict = make("button", { type: "button", className: "live-verdict", textContent: `Block ${number}`, disabled: true });
  block.verdict.setAttribute("aria-expanded", "false");
  block.verdict.setAttribute("aria-controls", block.output.id);
  block.verdict.onclick = () => openOutput(block, block.output.hidden);
  block.back = action("Put back", () => { pre.innerHTML = block.html; edited(block); pre.focus(); });
  block.back.className = "live-back";
  const from = action(block.exercise ? "Check" : "Run from here", () => runFrom(block.exercise ? firstOf(block.exercise) : index));
  for (const [element, does] of [[block.back, "Put back"], [from, from.textContent]])
    element.setAttribute("aria-label", `${does}: block ${number}`);
  const row = make("div", { className: "livedocs live-row" }, block.verdict, block.back, from);
  row.style.margin = getComputedStyle(mark).margin; // In a list it is another one.
  mark.replaceWith(row, block.output);
  pre.id = `live-${number}`;
  pre.contentEditable = "plaintext-only";
  if (pre.contentEditable !== "plaintext-only") pre.contentEditable = "true";
  pre.spellcheck = false;
  pre.setAttribute("role", "textbox");
  pre.setAttribute("aria-multiline", "true");
  pre.setAttribute("aria-label", `Block ${number}${block.path ? `, the file ${block.path}` : ""}: you can change it`);
  pre.addEventListener("input", () => edited(block));
  pre.addEventListener("keydown", (event) => {
    if (event.key === "Escape") block.verdict.disabled ? from.focus() : block.verdict.focus();
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    runFrom(index, event.shiftKey ? blocks.length - 1 : index);
  });
}
const firstOf = (exercise) => blocks.findIndex((block) => block.exercise === exercise);

function edited(block) {
  const changed = isEdited(block);
  block.back.classList.toggle("live-changed", changed);
  block.pre.classList.toggle("live-changed", changed);
  if (block.last !== undefined && block.last !== textOf(block)) setVerdict(block, "changed, and not run since", "");
}

function setVerdict(block, text, kind) {
  block.verdict.textContent = `Block ${block.index + 1}: ${text}`;
  block.verdict.dataset.kind = kind;
  block.verdict.disabled = !block.results;
}

function openOutput(block, open) {
  block.output.hidden = !open;
  block.verdict.setAttribute("aria-expanded", open);
}

function show(block) {
  if (!block.mark) return;
  const { results, output, seconds } = block, time = ` (${seconds.toFixed(1)} s)`;
  const absent = results.find(({ right }) => right === null);
  const wrong = results.some(({ right }) => right === false);
  const solved = results.at(-1)?.solved;
  if (solved) setVerdict(block, "solved", "right");
  else if (absent) setVerdict(block, `not here: ${absent.got.trim()}`, "absent");
  else if (wrong) setVerdict(block, `${isEdited(block) ? "you changed it" : "not as above"}${time}`, "wrong");
  else setVerdict(block, `${{ file: "in place", part: "in place", end: "in place" }[block.kind] || "as above"}${time}`, "right");
  output.replaceChildren(...results.flatMap(({ source, got, right, diff }) => [
    results.length > 1 ? make("b", { textContent: `${source.trim()}\n` }) : "",
    ...linked(right === false && diff && !isEdited(block) ? diff : got, block),
  ]));
  if (!output.textContent) output.textContent = "(no output)";
}

// Text in which the frames of a traceback are links to the line of the block, or of the file's block.
function linked(text, block) {
  const parts = text.split(/(File "[^"]+", line \d+)/);
  return parts.map((part, index) => {
    const [, file, line] = /^File "([^"]+)", line (\d+)$/.exec(part) || [];
    if (!file) return part;
    const number = /^block (\d+)$/.exec(file)?.[1];
    const to = number ? blocks[number - 1] : blocks.slice(0, block.index + 1).findLast(({ path }) => path === file);
    if (!to) return part;
    const source = parts[index + 1]?.split("\n")[1]?.trim();
    const link = make("a", { href: `#${to.pre.id}`, textContent: `${part} (block ${to.index + 1})` });
    link.onclick = (event) => { event.preventDefault(); selectLine(to, source, number ? line : 0); };
    return link;
  });
}

function selectLine({ pre }, source, number) {
  if (pre.querySelector("br")) pre.textContent = pre.innerText; // A browser's own line breaks.
  const lines = pre.innerText.split("\n");
  const at = number && !lines.some((text) => text.startsWith(">>>")) ? number - 1 : lines.findIndex((text) => source && text.includes(source));
  pre.focus();
  pre.scrollIntoView({ block: "center" });
  if (at < 0) return;
  let from = lines.slice(0, at).join("\n").length + (at ? 1 : 0), left = lines[at].length;
  const range = document.createRange(), walk = document.createTreeWalker(pre, NodeFilter.SHOW_TEXT);
  for (let node, begun = false; (node = walk.nextNode()); from -= node.length) {
    if (!begun && from <= node.length) { range.setStart(node, from); begun = true; }
    if (begun && from + left <= node.length) { range.setEnd(node, from + left); break; }
  }
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}

function sum() {
  const ran = blocks.filter(({ ran, results }) => ran !== null && results);
  const differ = ran.filter(({ results }) => results.some(({ right }) => right === false));
  const absent = ran.filter(({ results }) => results.some(({ right }) => right === null));
  const solved = ran.some(({ results }) => results.at(-1)?.solved);
  const others = differ.length + absent.length ? "All others are" : "All are";
  say(`${ran.length} of ${blocks.length} blocks ran here. ${solved ? "The exercise is solved. " : ""}`
    + (absent.length ? `Not possible in a browser: ${absent.length}. ` : "")
    + (differ.length ? `Not as on the page: ${differ.length}, first ` : `${others} as on the page.`), 1);
  if (differ.length) {
    const link = make("a", { href: `#${differ[0].pre.id}`, textContent: `block ${differ[0].index + 1}` });
    link.addEventListener("click", () => openOutput(differ[0], true));
    status.append(link);
  }
}

// The tables of each alias, with their first rows.
async function openPanel(open) {
  panel.hidden = !open;
  look.setAttribute("aria-expanded", open);
  if (!open) return;
  panel.replaceChildren(make("p", { textContent: "Reading the databases…" }));
  setBusy(true);
  try {
    await fillPanel();
    panel.focus();
  } catch (error) {
    panel.replaceChildren(make("p", { textContent: error.message.split("\n").pop() }));
  }
  setBusy(false);
}

async function fillPanel() {
  const aliases = Object.entries(await ask({ ask: "look" }));
  const cells = (name, texts) => make("tr", {}, ...texts.map((text) => make(name, { textContent: text })));
  panel.replaceChildren(...aliases.map(([alias, tables]) => make("details", { open: aliases.length < 4 },
    make("summary", { textContent: alias }),
    ...(tables.error !== undefined ? [make("p", { textContent: tables.error })] : Object.entries(tables).map(([name, { columns, rows, count }]) =>
      make("details", {}, make("summary", { textContent: `${name}: ${count} ${count === 1 ? "row" : "rows"}` }),
        make("table", {}, make("thead", {}, cells("th", columns)), make("tbody", {}, ...rows.map((row) => cells("td", row))))))))));
  if (!aliases.length) panel.replaceChildren(make("p", { textContent: "The page has no databases yet." }));
}

async function download() {
  const late = blocks.find((block) => block.last !== undefined && block.last !== textOf(block));
  if (late) return say(`Block ${late.index + 1} was changed after it ran. Run it, then download.`);
  setBusy(true);
  const url = URL.createObjectURL(new Blob([await ask({ ask: "zip" })], { type: "application/zip" }));
  make("a", { href: url, download: `${project}.zip` }).click();
  URL.revokeObjectURL(url);
  setBusy(false);
}

const styles = make("link", { rel: "stylesheet", href: new URL("live.css", import.meta.url).href });
await new Promise((done) => { styles.onload = styles.onerror = done; document.head.append(styles); });
live.append(bar, panel);
blocks.forEach(addRow);
button.onclick = () => runFrom(0);
window.live = { blocks, times }; // For the tests and the benchmark.
runFrom(0);
