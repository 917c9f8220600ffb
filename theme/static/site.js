"use strict";

// The menu of a narrow window. It is a button, so that Enter, Space and a finger open it.
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
  // Sphinx focuses the search box, which must be there to be focused: so before Sphinx hears of it.
  if (event.key === "/" && !event.target.closest("input, button")) openMenu(true);
}, true);
// A link to a section of this page leaves the page as it is: show it.
nav.addEventListener("click", (event) => event.target.closest("a") && openMenu(false));

// A button before each entry that has entries below it. Those of the current page are open.
for (const list of nav.querySelectorAll("li > ul")) {
  const link = list.parentElement.querySelector("a");
  const button = document.createElement("button");
  const show = (open) => {
    button.setAttribute("aria-expanded", open);
    list.hidden = !open;
  };
  button.className = "expand";
  button.type = "button";
  button.setAttribute("aria-label", `Sections of ${link.textContent}`);
  button.addEventListener("click", () => show(list.hidden));
  link.before(button);
  const here = location.hash && list.parentElement.querySelector(`[href="${CSS.escape(location.hash)}"]`);
  show(list.parentElement.matches(".current") || Boolean(here));
}

// A table of many columns becomes, on a phone, a card a row: each cell then names its column.
for (const table of document.querySelectorAll("table.docutils")) {
  const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent);
  if (heads.length < 4) continue;
  table.classList.add("cards");
  for (const row of table.querySelectorAll("tbody tr"))
    [...row.cells].forEach((cell, column) => (cell.dataset.column = heads[column]));
}

// Under each search result, what its page is about. Sphinx would fetch every page that it found.
const summaries = document.getElementById("summaries");
if (summaries) {
  const about = JSON.parse(summaries.textContent);
  new MutationObserver((changes) => {
    for (const result of changes.flatMap((change) => [...change.addedNodes])) {
      const link = result.nodeName === "LI" && result.querySelector("a");
      const page = link && link.getAttribute("href").replace(/\.html.*$/, "");
      if (about[page]) result.append(Object.assign(document.createElement("p"), { textContent: about[page] }));
    }
  }).observe(document.getElementById("search-results"), { childList: true, subtree: true });
}
