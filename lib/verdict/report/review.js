(() => {
  "use strict";
  // Notes and rubric live in this browser alone; a file carries them elsewhere.
  const body = document.body, page = body.dataset.page, profile = body.dataset.profile;
  if (!profile) return;
  const KEY = `verdict-review:${profile}`, FORMAT = "verdict-review/1";
  const make = (tag, given = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (name === "text") element.textContent = value;
      else if (typeof value === "function") element.addEventListener(name, value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };
  const button = (text, action, label) => make("button", { type: "button", text, click: action, ...(label ? { "aria-label": label } : {}) });
  const isText = (value, most) => typeof value === "string" && value.length <= most;
  const empty = () => ({ format: FORMAT, profile, reviewer: "", notes: [], rubric: {} });

  const isNote = (note) => note && ["id", "page", "kind", "label", "author", "written", "run"].every((name) => isText(note[name], 2000))
    && isText(note.anchor, 500) && isText(note.text, 100000) && note.text !== "" && /^[\w.-]+$/.test(note.page);
  const isScore = (entry) => entry && (entry.score === null || (Number.isInteger(entry.score) && entry.score >= 0)) && isText(entry.comment, 100000);
  const checked = (found) => {
    if (!found || found.format !== FORMAT) throw new Error(`this file is no review (format ${FORMAT})`);
    if (found.profile !== profile) throw new Error(`these notes belong to the report “${String(found.profile).slice(0, 80)}”, this one is “${profile}”`);
    if (!Array.isArray(found.notes) || !found.notes.every(isNote)) throw new Error("a note is damaged");
    if (!found.rubric || typeof found.rubric !== "object" || !Object.values(found.rubric).every(isScore)) throw new Error("an answer to the rubric is damaged");
    return { ...empty(), reviewer: isText(found.reviewer, 200) ? found.reviewer : "", notes: found.notes, rubric: found.rubric };
  };
  const load = () => { try { return checked(JSON.parse(localStorage.getItem(KEY)) ?? empty()); } catch { return empty(); } };
  const tell = (text) => document.querySelectorAll(".review-said").forEach((place) => { place.textContent = text; });
  const change = (edit) => {
    const review = load();
    edit(review);
    try { localStorage.setItem(KEY, JSON.stringify(review)); } catch { tell("This browser keeps nothing for this page: export before you close it."); }
    draw(review);
  };
  const merged = (mine, other) => {
    const notes = new Map(mine.notes.map((note) => [note.id, note]));
    for (const note of other.notes) if (!notes.has(note.id) || notes.get(note.id).written < note.written) notes.set(note.id, note);
    mine.notes = [...notes.values()];
    mine.rubric = { ...mine.rubric, ...other.rubric };
    mine.reviewer = mine.reviewer || other.reviewer;
  };

  // What can be noted: sections, figures, tables and claims; a claim on the index is the same as on its page.
  const targets = [...document.querySelectorAll("main h2[id], main h3[id], main figure[id], main div.table[id], main tr[id^='claim-'], main tr[data-note]")].map((element) => {
    const [where, anchor] = element.dataset.note ? element.dataset.note.split("#") : [page, element.id];
    const kind = element.tagName === "TR" ? "claim" : element.tagName === "FIGURE" ? "figure" : element.tagName === "DIV" ? "table" : "section";
    const named = kind === "claim" ? element.cells[0] : kind === "section" ? element : element.querySelector("figcaption, caption, summary");
    const label = (named ? [...named.childNodes].filter((node) => !node.classList || !["anchor", "download"].some((name) => node.classList.contains(name))).map((node) => node.textContent).join("") : "").trim().slice(0, 300);
    const list = make("div", { class: "notes" });
    const add = button("✎", () => write(target), `Note on ${kind}: ${label}`);
    add.className = "note-button";
    if (kind === "claim") element.cells[0].append(" ", add, list);
    else if (kind === "section") { element.append(" ", add); element.after(list); }
    else { (element.querySelector("figcaption") ?? element).append(" ", add); element.append(list); }
    const target = { where, anchor, kind, label, list, add };
    return target;
  });

  const write = (target, note) => {
    const open = target.list.querySelector(".note-editor");
    if (open) { open.querySelector("textarea").focus(); return; }
    const area = make("textarea", { rows: "3", dir: "auto", "aria-label": `Note on ${target.kind}: ${target.label}` });
    area.value = note ? note.text : "";
    const close = () => { editor.remove(); target.add.focus(); };
    const keep = () => {
      const text = area.value.trim();
      editor.remove();
      change((review) => {
        const written = new Date().toISOString();
        const old = note && review.notes.find((entry) => entry.id === note.id);
        if (!text) review.notes = review.notes.filter((entry) => !note || entry.id !== note.id);
        else if (old) Object.assign(old, { text, written });
        else review.notes.push({ id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, page: target.where, anchor: target.anchor, kind: target.kind, label: target.label, text, author: review.reviewer, written, run: body.dataset.run ?? "" });
      });
      target.add.focus();
    };
    const editor = make("div", { class: "note-editor", keydown: (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) keep();
    } }, area, button("Save note", keep), button("Cancel", close));
    target.list.append(editor);
    area.focus();
  };
  const card = (note, ...buttons) => make("div", { class: "note" },
    make("p", { class: "note-text", dir: "auto", text: note.text }),
    make("p", { class: "note-meta" }, make("span", { dir: "auto", text: note.author || "no name" }), ` · ${note.written.slice(0, 10)}${note.run !== (body.dataset.run ?? "") && note.run ? ` · written on run ${note.run.slice(0, 12)}` : ""} `, ...buttons));
  const remove = (note) => change((review) => { review.notes = review.notes.filter((entry) => entry.id !== note.id); });

  const drawList = (place, review) => {
    const pages = [...new Set(review.notes.map((note) => note.page))].sort((a, b) => (a === "index" ? -1 : b === "index" ? 1 : a.localeCompare(b)));
    place.replaceChildren(...pages.flatMap((name) => [
      make("h3", { text: name }),
      make("ul", { class: "note-list" }, ...review.notes.filter((note) => note.page === name).map((note) => make("li", {},
        make("a", { href: `${encodeURIComponent(name)}.html#${encodeURIComponent(note.anchor)}`, dir: "auto", text: note.label || note.anchor }), card(note, button("Delete", () => remove(note), `Delete the note on ${note.label}`))))),
    ]));
    if (!review.notes.length) place.append(make("p", { text: "No notes yet. Beside each section, figure, table and claim of the pages stands a pen (✎) to write one." }));
  };
  const drawRubric = (review) => {
    let sum = 0, weights = 0, answered = 0;
    const rows = [...document.querySelectorAll("[data-criterion]")];
    for (const row of rows) {
      const entry = review.rubric[row.dataset.criterion] ?? { score: null, comment: "" };
      const [score, comment] = row.querySelectorAll("select, textarea");
      score.value = entry.score === null ? "" : String(entry.score);
      if (comment !== document.activeElement) comment.value = entry.comment;
      if (score.value !== "") { answered += 1; sum += Number(row.dataset.weight) * entry.score; weights += Number(row.dataset.weight); }
    }
    const total = document.getElementById("rubric-total");
    if (total) total.textContent = answered ? `${(sum / weights).toFixed(2)} of ${total.dataset.most}, weighted mean of ${answered} of ${rows.length} questions` : "Nothing answered yet.";
  };
  const draw = (review) => {
    for (const target of targets) {
      const editor = target.list.querySelector(".note-editor");
      const own = review.notes.filter((note) => note.page === target.where && note.anchor === target.anchor);
      target.list.replaceChildren(...own.map((note) => card(note, button("Edit", () => write(target, note), `Edit the note on ${target.label}`), " ", button("Delete", () => remove(note), `Delete the note on ${target.label}`))), ...(editor ? [editor] : []));
      target.add.classList.toggle("has-notes", own.length > 0);
    }
    document.querySelectorAll(".review-count").forEach((place) => { place.textContent = review.notes.length ? ` (${review.notes.length})` : ""; });
    document.querySelectorAll(".review-name").forEach((field) => { if (field !== document.activeElement) field.value = review.reviewer; });
    document.querySelectorAll(".review-list").forEach((place) => drawList(place, review));
    drawRubric(review);
  };

  const exported = () => JSON.stringify(load(), null, 1);
  document.querySelectorAll(".review-export").forEach((control) => control.addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([exported()], { type: "application/json" }));
    make("a", { href: address, download: `review-${profile}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    tell("Exported.");
  }));
  document.querySelectorAll(".review-import").forEach((control) => control.addEventListener("change", async () => {
    if (!control.files.length) return;
    try {
      const other = checked(JSON.parse(await control.files[0].text()));
      change((review) => merged(review, other));
      tell(`Imported ${other.notes.length} note(s) and ${Object.keys(other.rubric).length} answer(s).`);
    } catch (error) { tell(`Not imported: ${error.message}.`); }
    control.value = "";
  }));
  document.querySelectorAll(".review-name").forEach((field) => field.addEventListener("input", () => change((review) => { review.reviewer = field.value.slice(0, 200); })));
  document.querySelectorAll(".review-print").forEach((control) => control.addEventListener("click", () => print()));
  for (const row of document.querySelectorAll("[data-criterion]")) {
    const [score, comment] = row.querySelectorAll("select, textarea");
    const keep = () => change((review) => { review.rubric[row.dataset.criterion] = { score: score.value === "" ? null : Number(score.value), comment: comment.value }; });
    score.addEventListener("change", keep);
    comment.addEventListener("input", keep);
  }
  // The rubric one question at a time; without scripts it is a list.
  const questions = [...document.querySelectorAll("[data-criterion]")], walk = document.querySelector(".walk");
  if (walk && questions.length > 1) {
    const [back, next, all] = walk.querySelectorAll("button");
    let at = 0, isWalking = true;
    const turn = (to, isAsked = true) => {
      at = to;
      questions.forEach((question, k) => { question.hidden = isWalking && k !== at; });
      back.hidden = !isWalking || at === 0;
      next.hidden = !isWalking || at === questions.length - 1;
      walk.querySelector(".walk-at").textContent = isWalking ? `Question ${at + 1} of ${questions.length}` : "";
      if (isAsked) questions[at].querySelector("h3").focus();
    };
    const toAddress = () => {
      const asked = questions.findIndex((question) => `#${question.id}` === location.hash);
      if (asked >= 0) { turn(asked); questions[asked].scrollIntoView(); }
    };
    back.addEventListener("click", () => turn(at - 1));
    next.addEventListener("click", () => turn(at + 1));
    all.addEventListener("click", () => {
      isWalking = !isWalking;
      all.setAttribute("aria-pressed", String(!isWalking));
      all.textContent = isWalking ? "Show all" : "One at a time";
      turn(at, false);
    });
    addEventListener("hashchange", toAddress);
    walk.hidden = false;
    turn(0, false);
    toAddress();
  }
  addEventListener("storage", (event) => { if (event.key === KEY) draw(load()); });
  draw(load());
})();
