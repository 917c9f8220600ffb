"use strict";

// The menu of a narrow window. It is a button, so that Enter, Space and touch open it.
const menu = document.getElementById("menu");
const nav = document.getElementById("nav");
const openMenu = (open) => {
  menu.setAttribute("aria-expanded", open);
  nav.classList.toggle("open", open);
};
menu.addEventListener("click", () => openMenu(!nav.classList.contains("open")));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && nav.classList.contains("open")) {
    openMenu(false);
    menu.focus();
  }
  // Sphinx focuses the search box, which must be visible then. So this runs before Sphinx's handler.
  if (event.key === "/" && !event.target.closest("input, button")) openMenu(true);
}, true);
// A link to a section of this page does not load a page: close the menu.
nav.addEventListener("click", (event) => event.target.closest("a") && openMenu(false));

// Scroll the menu to the entry of this page.
const entry = nav.querySelector("[aria-current]");
if (entry) nav.scrollTop = entry.getBoundingClientRect().top - nav.clientHeight / 2;

// The list of sections: next to the page in a wide window, else folded under the title. It follows the scroll.
const toc = document.querySelector(".toc");
if (toc) {
  const folded = toc.querySelector("details"), here = toc.querySelector(".here");
  const wide = matchMedia("(min-width: 1360px)"); // As in site.css.
  const fold = () => { folded.open = wide.matches; };
  wide.addEventListener("change", fold);
  fold();
  const links = [...toc.querySelectorAll("a")];
  const targets = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
  const follow = () => {
    const passed = targets.filter((target) => target.getBoundingClientRect().top < innerHeight / 4).length;
    const link = links[passed - 1];
    const before = toc.querySelector("[aria-current]");
    if (before === (link || null)) return;
    if (before) before.removeAttribute("aria-current");
    if (link) link.setAttribute("aria-current", "true");
    here.textContent = link ? link.textContent : "";
    const box = link && link.getBoundingClientRect();
    if (box && wide.matches && (box.top < 60 || box.bottom > innerHeight - 20))
      toc.scrollTop += box.top - innerHeight / 2;
  };
  // A section begins either above the window's upper quarter, at any distance, or below it.
  const observer = new IntersectionObserver(follow, { rootMargin: "1000000px 0px -75% 0px" });
  for (const target of targets) observer.observe(target.querySelector("h2, h3, h4") || target);
  toc.addEventListener("click", (event) => {
    if (event.target.closest("a") && !wide.matches) folded.open = false;
  });
}

// On a phone, a table that would break words or scroll becomes cards, one for each row, with column names.
const phone = matchMedia("(max-width: 600px)"); // As in site.css.
for (const table of document.querySelectorAll("table.docutils")) {
  const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent);
  for (const row of table.querySelectorAll("tbody tr"))
    [...row.cells].forEach((cell, column) => { if (heads[column]) cell.dataset.column = heads[column]; });
  const lay = () => {
    table.classList.toggle("cards", heads.length > 3);
    if (phone.matches && table.offsetWidth > table.parentElement.clientWidth) table.classList.add("cards");
  };
  phone.addEventListener("change", lay);
  lay();
}

// Tabs for engines: tabs that follow each other are a group, and one tab is shown. The choice is for all
// groups, on all pages. Without this script all tabs are shown, each under its name.
const groups = [];
for (const panel of document.querySelectorAll(".engine")) {
  const follows = panel.previousElementSibling && panel.previousElementSibling.matches(".engine");
  if (follows) groups.at(-1).push(panel);
  else groups.push([panel]);
}
const enginesOf = (panel) => panel.querySelector(".engine-name").textContent.split(/, | and /);
const showEngine = (engine) => {
  for (const group of groups) {
    const chosen = group.find((panel) => enginesOf(panel).includes(engine));
    if (!chosen || group.length === 1) continue;
    for (const panel of group) {
      const tab = document.getElementById(`${panel.id}-tab`);
      tab.setAttribute("aria-selected", panel === chosen);
      tab.tabIndex = panel === chosen ? 0 : -1;
      panel.hidden = panel !== chosen;
    }
  }
};
let engine = null;
try { engine = localStorage.getItem("engine"); } catch { /* Storage is disabled. */ }
const chooseEngine = (panel) => {
  // For a tab of several engines, keep the engine that was chosen before.
  if (!enginesOf(panel).includes(engine)) [engine] = enginesOf(panel);
  try { localStorage.setItem("engine", engine); } catch { /* Then only for this page. */ }
  const tab = document.getElementById(`${panel.id}-tab`);
  const top = tab.getBoundingClientRect().top;
  showEngine(engine);
  tab.focus({ preventScroll: true });
  scrollBy(0, tab.getBoundingClientRect().top - top); // Groups above it may have changed their height.
};
groups.forEach((group, number) => {
  if (group.length === 1) return;
  const list = document.createElement("div");
  list.className = "engine-tabs";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", "Database engine");
  group.forEach((panel, index) => {
    const name = panel.querySelector(".engine-name");
    const tab = Object.assign(document.createElement("button"), { type: "button", textContent: name.textContent });
    name.hidden = true;
    panel.id = `engine-${number}-${index}`;
    tab.id = `${panel.id}-tab`;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", () => chooseEngine(panel));
    list.append(tab);
  });
  list.addEventListener("keydown", (event) => {
    const at = group.findIndex((panel) => !panel.hidden), last = group.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at ? at - 1 : last, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    chooseEngine(group[to]);
  });
  group[0].before(list);
});
for (const group of groups) showEngine(enginesOf(group[0])[0]);
const showTarget = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const panel = target && target.closest(".engine[hidden]");
  if (!panel) return;
  showEngine(enginesOf(panel)[0]);
  target.scrollIntoView();
};
showEngine(engine);
showTarget();
addEventListener("hashchange", showTarget);

// A page that runs in the browser. Its script is fetched when the reader presses the button.
const runHere = document.querySelector("#live button");
if (runHere && location.protocol === "file:") {
  runHere.nextElementSibling.textContent = "This page can run in your browser, but not from a file: serve the site, for example by python -m http.server.";
  runHere.remove();
} else if (runHere) runHere.addEventListener("click", () => import("./live/live.js"), { once: true });
