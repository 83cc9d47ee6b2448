"use strict";
// Everything here adds to a page that is complete without it: a control exists only where its script runs.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
const rows = all("#findings-table tbody tr");
const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));  // before any button adds its own
const said = byId("said");

function say(text) {
  said.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { said.textContent = ""; }, 2500);
}

// -- copying ---------------------------------------------------------------------------------------------------------

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A page served over plain HTTP has no clipboard interface.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return say("The browser does not let this page copy");
  }
  say("Copied");
}

const copied = (element) => element.dataset.text ?? (element.dataset.text = element.textContent.trim());

for (const element of all("[data-copy]")) {
  const text = copied(element);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy ${text.length > 90 ? "this" : text}`);
  button.addEventListener("click", () => copy(text));
  if (element.tagName === "PRE") element.append(button);
  else element.after(button);
}

// -- sorting ---------------------------------------------------------------------------------------------------------

const collator = new Intl.Collator("en", { numeric: true });

function compare(column) {
  const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
  return (a, b) => {
    const [left, right] = [value(a), value(b)];
    const difference = Number(left) - Number(right);
    return Number.isNaN(difference) ? collator.compare(left, right) : difference;
  };
}

function sort(header) {
  const row = header.parentElement;
  const body = header.closest("table").tBodies[0];
  const before = header.getAttribute("aria-sort");
  const descending = before ? before === "ascending" : header.classList.contains("n");
  const order = compare([...row.cells].indexOf(header));
  all("[aria-sort]", row).forEach((other) => other.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  body.append(...[...body.rows].sort((a, b) => (descending ? order(b, a) : order(a, b))));
}

for (const header of all("table[data-sortable] thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  button.addEventListener("click", () => sort(header));
  header.append(button);
}

// -- findings: filter, links, moving about ---------------------------------------------------------------------------

const filter = byId("filter");
const sections = all("details.finding");
let now = null;

function applyFilter() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of rows) {
    row.hidden = !words.every((word) => texts.get(row).includes(word));
    const section = byId(row.cells[0].querySelector("a")?.hash.slice(1));
    if (section) section.hidden = row.hidden;
  }
  byId("shown").textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
}

if (filter) {
  filter.closest("p").hidden = false;
  let timer;
  filter.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(applyFilter, 80);
  });
}

function go(section) {
  if (!section) return;
  now?.classList.remove("now");
  now = section;
  now.classList.add("now");
  now.firstElementChild.focus({ preventScroll: true });
  now.scrollIntoView({ block: "nearest" });
}

function openLinked() {
  const target = byId(decodeURIComponent(location.hash.slice(1)))?.closest("details.finding");
  if (!target) return;
  for (let element = target; element; element = element.parentElement.closest("details")) element.open = true;
  go(target);
  target.scrollIntoView({ block: "start" });
}

addEventListener("hashchange", openLinked);
openLinked();
for (const link of all("#findings-table a[href^='#'], .known a[href^='#']")) link.addEventListener("click", () => link.hash === location.hash && openLinked());

function step(by) {
  const shown = sections.filter((section) => section.checkVisibility());
  const at = shown.indexOf(now);
  go(shown[at < 0 ? (by > 0 ? 0 : shown.length - 1) : Math.min(Math.max(at + by, 0), shown.length - 1)]);
}

// -- keys ------------------------------------------------------------------------------------------------------------

const help = byId("help");
const keys = {
  j: () => step(1),
  k: () => step(-1),
  o: () => { if (now) now.open = !now.open; },
  c: () => now && copy(now.querySelector("summary code").textContent),
  x: () => {
    const open = !sections.every((section) => section.open);
    sections.concat(all("#known-evidence")).forEach((element) => { element.open = open; });
  },
  "/": () => filter?.focus(),
  t: () => scrollTo({ top: 0 }),
  "?": () => help.showModal(),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.target.matches("input, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
byId("keys").hidden = false;
byId("keys").addEventListener("click", () => help.showModal());

// -- printing: what is folded away on the screen is part of the page on paper -----------------------------------------

let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  folded.forEach((element) => { element.open = true; });
});
addEventListener("afterprint", () => folded.forEach((element) => { element.open = false; }));
