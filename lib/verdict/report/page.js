(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const read = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const keep = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private window */ } };

  const themes = ["auto", "light", "dark"];
  const themeButton = document.getElementById("theme");
  const setTheme = (name) => {
    if (name === "auto") root.removeAttribute("data-theme"); else root.dataset.theme = name;
    themeButton.textContent = { auto: "Colours: auto", light: "Colours: light", dark: "Colours: dark" }[name];
    themeButton.setAttribute("aria-label", { auto: "Colours: auto, as the system", light: "Colours: light", dark: "Colours: dark" }[name]);
  };
  let theme = themes.includes(read("verdict-theme")) ? read("verdict-theme") : "auto";
  setTheme(theme);
  themeButton.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    keep("verdict-theme", theme);
    setTheme(theme);
  });

  const codeButton = document.getElementById("show-code");
  const setCode = (isOpen) => {
    document.querySelectorAll("details.code").forEach((block) => { block.open = isOpen; });
    codeButton.setAttribute("aria-pressed", String(isOpen));
    codeButton.textContent = isOpen ? "Hide code" : "Show code";
  };
  if (codeButton) {
    if (read("verdict-code") === "open") setCode(true);
    codeButton.addEventListener("click", () => {
      const isOpen = codeButton.getAttribute("aria-pressed") !== "true";
      keep("verdict-code", isOpen ? "open" : "closed");
      setCode(isOpen);
    });
  }

  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    target.querySelectorAll(":scope > details.rows").forEach((rows) => { rows.open = true; });
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  const contents = document.querySelector(".toc details");
  if (contents && matchMedia("(max-width: 70rem)").matches) contents.open = false;
  const entries = [...document.querySelectorAll(".toc a")].map((link) => [link, document.getElementById(decodeURIComponent(link.hash.slice(1)))]).filter((pair) => pair[1]);
  let isWaiting = false;
  const follow = () => {
    isWaiting = false;
    let current = null;
    for (const [link, heading] of entries) if (heading.getBoundingClientRect().top < 140) current = link;
    if (innerHeight + scrollY >= root.scrollHeight - 4 && entries.length) current = entries[entries.length - 1][0];
    for (const [link] of entries) if (link === current) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  };
  addEventListener("scroll", () => { if (!isWaiting) { isWaiting = true; requestAnimationFrame(follow); } }, { passive: true });
  follow();

  const value = (cell) => cell.dataset.key === undefined ? cell.textContent.trim() : Number(cell.dataset.key);
  const compare = (a, b) => {
    const bothNumbers = typeof a === "number" && typeof b === "number";
    if (bothNumbers) return Number.isNaN(a) ? 1 : Number.isNaN(b) ? -1 : a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, undefined, { numeric: true });
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const isUp = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (isUp ? 1 : -1) * compare(value(a.cells[column]), value(b.cells[column])));
      table.tBodies[0].append(...rows);
    }));
  }

  // A picture wider than a phone opens at its middle, where the pipeline is.
  for (const box of document.querySelectorAll(".scroll > .pipeline:not(.jobs)")) box.parentElement.scrollLeft = (box.parentElement.scrollWidth - box.parentElement.clientWidth) / 2;

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("main details:not([open]):not(.code)")];
    closed.forEach((block) => { block.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((block) => { block.open = false; }));
})();
