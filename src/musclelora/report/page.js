"use strict";
// The rows of the page: search, filters, order, decisions, the map. Text of the data becomes text nodes alone.
(() => {
  const ACTIONS = ["keep", "drop", "relabel"];
  const SHORT = 320; // characters of a text that are shown before "Show all"
  const PRINTED = 500; // rows on paper at most
  const HIDDEN = /(?![\t\n\r])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\u3164\u115F\u1160\uFFA0\u2800\u{E0100}-\u{E01EF}]/gu;
  const byId = (id) => document.getElementById(id);
  const many = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

  const view = { query: "", show: "suspects", label: "", action: "", sort: "doubt", up: false, group: null, page: 0, size: 25 };
  const decisions = new Map(); // row number → [action, label or null]
  let rows; // the data, with `index`: place by row number
  let found = []; // places of the rows that are shown, in their order

  // ---- building -------------------------------------------------------------------------------------------
  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  /** Nodes of a text, in which characters that hide or turn it are written out. */
  function visible(text) {
    const nodes = [];
    let start = 0;
    for (const match of text.matchAll(HIDDEN)) {
      nodes.push(text.slice(start, match.index));
      const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      nodes.push(make("span", { class: "hidden-character" }, `U+${code}`));
      start = match.index + match[0].length;
    }
    nodes.push(text.slice(start));
    return nodes;
  }

  const data = (text) => make("bdi", { class: "data" }, ...visible(text));
  const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
  const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");

  /** What finds a trigger in a text: its words with any blanks between, and no letters around them. */
  function pattern(phrase) {
    const words = phrase.match(/[\p{L}\p{N}_]+|[^\p{L}\p{N}_\s]/gu);
    if (!words) return new RegExp(escaped(phrase), "gu");
    const ends = /[\p{L}\p{N}_]/u;
    const before = ends.test(words[0][0]) && phrase.length > 1 ? "(?<![\\p{L}\\p{N}_])" : "";
    const after = ends.test(words.at(-1)) && phrase.length > 1 ? "(?![\\p{L}\\p{N}_])" : "";
    return new RegExp(before + words.map(escaped).join("\\s*") + after, "gu");
  }

  /** A text with what was planted and what was searched for marked in it. */
  function marked(text, place, planted) {
    const wanted = [];
    if (planted && rows.phrase[place] >= 0) for (const phrase of rows.phrases[rows.phrase[place]]) wanted.push([phrase, "planted"]);
    if (planted && view.group?.phrase) wanted.push([view.group.phrase, "planted"]);
    const spots = wanted.flatMap(([phrase, kind]) => [...text.matchAll(pattern(phrase))].map((m) => [m.index, m.index + m[0].length, kind]));
    if (view.query && !view.query.startsWith("#")) {
      for (const match of text.matchAll(new RegExp(escaped(view.query), "giu"))) spots.push([match.index, match.index + match[0].length, "searched"]);
    }
    spots.sort((one, other) => one[0] - other[0] || other[1] - one[1]);
    const whole = make("bdi", { class: "data" });
    let end = 0;
    for (const [from, to, kind] of spots) {
      if (from < end || to === from) continue;
      whole.append(...visible(text.slice(end, from)), make("mark", { class: kind }, ...visible(text.slice(from, to))));
      end = to;
    }
    whole.append(...visible(text.slice(end)));
    return whole;
  }

  // ---- reading --------------------------------------------------------------------------------------------
  async function unpack() {
    const letters = atob(byId("data").textContent.trim());
    const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const values = JSON.parse(await new Response(stream).text());
    const count = values.texts.length;
    values.numbers = typeof values.rows === "number" ? Array.from({ length: count }, (_, n) => n) : values.rows;
    values.index = new Map(values.numbers.map((number, place) => [number, place]));
    values.groups = values.groups.map(([phrase, steps]) => { let at = 0; return { phrase, rows: steps.map((step) => (at += step)) }; });
    const most = (n) => values.planted.reduce((best, scores) => (scores[n] === null ? best : Math.max(best ?? 0, scores[n])), null);
    values.planted = values.given.map((_, n) => most(n));
    values.doubt = values.planted.map((planted, n) => Math.max(planted ?? 0, values.low_first ? 1000 - (values.score[n] ?? 1000) : 0));
    values.suspect = values.flags.map((flags, n) => flags !== 0 || values.actions[n] !== 0 || values.why[values.reasons[n]] !== "");
    return values;
  }

  const bit = (check) => 1 << rows.checks.indexOf(check);
  const has = (place, check) => rows.checks.includes(check) && (rows.flags[place] & bit(check)) !== 0;
  const becomes = (place) => decisions.get(rows.numbers[place])?.[0] ?? ACTIONS[rows.actions[place]];

  // ---- finding --------------------------------------------------------------------------------------------
  const SORTS = {
    doubt: [() => "most suspicious", (n) => rows.doubt[n]],
    row: [() => "row", (n) => rows.numbers[n]],
    said: [() => rows.words.said, (n) => (rows.said ? rows.said[n] : rows.labels[rows.given[n]])],
    score: [() => rows.words.score, (n) => rows.score[n] ?? -1],
    planted: [() => "planted score", (n) => rows.planted[n] ?? 0],
  };
  const NAMES = { trigger: "with a trigger", label: "label issues", style: "style issues", trusted_text: "with a trusted text", trusted_prompt: "with a trusted prompt" };

  /** Whether rows come in the order of a value's rise, until a person says otherwise. */
  const rises = (key) => ["row", "said"].includes(key) || (key === "score" && rows.low_first);

  function matches(place) {
    if (view.group && !view.group.rows.has(rows.numbers[place])) return false;
    if (view.show === "suspects" && !rows.suspect[place]) return false;
    if (view.show === "decided" && !decisions.has(rows.numbers[place])) return false;
    if (view.show.startsWith("check:") && !has(place, view.show.slice(6))) return false;
    if (view.label !== "" && rows.given[place] !== Number(view.label)) return false;
    if (view.action !== "" && becomes(place) !== view.action) return false;
    if (!view.query) return true;
    if (/^#\d[\d,]*$/.test(view.query)) return rows.numbers[place] === Number(view.query.slice(1).replaceAll(",", ""));
    rows.lower ??= (rows.said ? [rows.texts, rows.said] : [rows.texts]).map((texts) => texts.map((text) => text.toLowerCase()));
    return rows.lower.some((texts) => texts[place].includes(view.query.toLowerCase()));
  }

  function find() {
    found = [];
    for (let place = 0; place < rows.texts.length; place++) if (matches(place)) found.push(place);
    const value = SORTS[view.sort][1];
    const sign = view.up ? 1 : -1;
    found.sort((one, other) => {
      const a = value(one), b = value(other);
      return (a < b ? -sign : a > b ? sign : 0) || one - other;
    });
    view.page = 0;
    list();
  }

  // ---- showing --------------------------------------------------------------------------------------------
  const share = (value) => (value === null ? "–" : (value / 1000).toFixed(3));

  /** A text, and where it is long a button that shows all of it. */
  function folded(text, place, planted) {
    const shown = make("div", { class: `shown-text${text.length > SHORT ? " short" : ""}` }, marked(text, place, planted));
    if (text.length <= SHORT) return [shown];
    const more = make("button", { type: "button", class: "more", "aria-expanded": "false" }, "Show all");
    more.addEventListener("click", () => {
      const short = shown.classList.toggle("short");
      more.textContent = short ? "Show all" : "Show less";
      more.setAttribute("aria-expanded", String(!short));
    });
    return [shown, more];
  }

  function textCell(place) {
    const cell = make("td", { class: "text", role: "cell" }, ...folded(rows.texts[place], place, true));
    const left = rows.cut[place];
    const why = [rows.why[rows.reasons[place]], left ? `${many(left, "more character")} in issues.csv` : ""].filter(Boolean);
    if (why.length) cell.append(make("p", { class: "why" }, data(cut(why.join("; "), 500))));
    return cell;
  }

  function relabelling(number, name) {
    const select = make("select", { "aria-label": name }, make("option", { value: "" }, "Relabel"));
    rows.labels.forEach((label, n) => select.append(make("option", { value: n }, ...textOf(cut(label, 40)))));
    select.addEventListener("change", () => decide(number, select.value === "" ? null : ["relabel", rows.labels[Number(select.value)]]));
    return select;
  }

  function decisionCell(place) {
    const number = rows.numbers[place];
    const name = (what) => `${what} row ${number}`;
    const buttons = ["keep", "drop"].map((action) => {
      const button = make("button", { type: "button", "aria-label": name(action === "keep" ? "Keep" : "Drop"), "data-action": action }, action === "keep" ? "Keep" : "Drop");
      button.addEventListener("click", () => decide(number, decisions.get(number)?.[0] === action ? null : [action, null]));
      return button;
    });
    const choices = rows.may.includes("relabel") ? [relabelling(number, name("Relabel"))] : [];
    const group = make("div", { class: "decide", role: "group", "aria-label": `Decision on row ${number}` }, ...buttons, ...choices);
    const cell = make("td", { class: "decision", role: "cell", "data-row": number }, group, make("p", { class: "planned" }));
    mark(cell, place);
    return cell;
  }

  /** An option takes text alone: hidden characters become their number. */
  const textOf = (text) => [text.replace(HIDDEN, (c) => `U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`)];

  /** Show in a cell what was decided of its row. */
  function mark(cell, place) {
    const [action, label] = decisions.get(rows.numbers[place]) ?? [null, null];
    for (const button of cell.querySelectorAll("[data-action]")) {
      const on = button.dataset.action === action;
      button.classList.toggle("on", on);
      button.setAttribute("aria-pressed", String(on));
    }
    const select = cell.querySelector("select");
    select?.classList.toggle("on", action === "relabel");
    if (select) select.value = action === "relabel" ? String(rows.labels.indexOf(label)) : "";
    const planned = ACTIONS[rows.actions[place]];
    const yours = action === "relabel" ? ["you: ", data(cut(label, 60)), "; "] : action ? [`you: ${action}; `] : [];
    cell.querySelector(".planned").replaceChildren(...yours, `the audit: ${planned}`);
  }

  /** What is given to a text: its response, or its label. */
  function saidCell(place) {
    if (rows.said) return make("td", { class: "said", role: "cell", "data-name": rows.words.said }, ...folded(rows.said[place], place, false));
    const label = (n) => data(cut(rows.labels[n] ?? "–", 60));
    const given = make("td", { class: "labelled", role: "cell", "data-name": rows.words.said }, label(rows.given[place]));
    if (rows.suggested[place] !== rows.given[place]) given.append(make("span", { class: "instead" }, "rather ", label(rows.suggested[place])));
    return given;
  }

  function rowOf(place) {
    return make("tr", { role: "row" },
      make("td", { class: "number at", role: "cell", "data-name": "row " }, rows.numbers[place].toLocaleString("en")),
      textCell(place),
      saidCell(place),
      make("td", { class: "number", role: "cell", "data-name": rows.words.score }, share(rows.score[place])),
      make("td", { class: "number", role: "cell", "data-name": "planted" }, share(rows.planted[place])),
      decisionCell(place));
  }

  function header() {
    const heads = [["row", "row", "number"], [null, `${rows.words.text} and reasons`, ""], ["said", rows.words.said, ""], ["score", rows.words.score, "number"], ["planted", "planted", "number"], [null, "decision", ""]];
    const line = make("tr", { role: "row" });
    for (const [key, words, kind] of heads) {
      const on = key === view.sort;
      const cell = make("th", { scope: "col", role: "columnheader", class: kind, "aria-sort": key && (on ? (view.up ? "ascending" : "descending") : "none") });
      if (!on) cell.removeAttribute("aria-sort");
      if (key) {
        const button = make("button", { type: "button", "data-sort": key }, words);
        button.addEventListener("click", () => {
          view.up = view.sort === key ? !view.up : rises(key);
          view.sort = key;
          byId("sort").value = key;
          find();
          document.querySelector(`#table [data-sort="${key}"]`).focus();
        });
        cell.append(button);
      } else cell.append(words);
      line.append(cell);
    }
    return make("thead", { role: "rowgroup" }, line);
  }

  function list(from = view.page * view.size, to = from + view.size) {
    const places = found.slice(from, to);
    if (places.length) {
      const body = make("tbody", { role: "rowgroup" }, ...places.map(rowOf));
      byId("table").replaceChildren(make("table", { role: "table", class: rows.said ? "paired" : null }, make("caption", { class: "for-readers" }, "Rows with their reasons, and your decisions"), header(), body));
    } else byId("table").replaceChildren(make("p", { class: "empty" }, "No row is like that."));
    const first = places.length ? `${(from + 1).toLocaleString("en")}–${(from + places.length).toLocaleString("en")} of ` : "";
    byId("count").textContent = `${first}${many(found.length, "row")}`;
    const pages = Math.max(1, Math.ceil(found.length / view.size));
    byId("page").textContent = `Page ${(view.page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`;
    byId("before").disabled = view.page === 0;
    byId("after").disabled = view.page + 1 >= pages;
    byId("pager").hidden = found.length <= 25;
  }

  function turn(by) {
    view.page += by;
    list();
    byId("rows").focus({ preventScroll: true });
    byId("tools").scrollIntoView({ block: "start" });
  }

  // ---- deciding -------------------------------------------------------------------------------------------
  const place = `musclelora.decisions.${document.body.dataset.key}`;

  function kept(name, value) {
    try {
      if (value === undefined) return localStorage.getItem(name);
      localStorage.setItem(name, value);
    } catch { /* the browser keeps nothing: decisions live as long as the page */ }
    return null;
  }

  /** What the audit has taken already, changed as it was changed in this browser: another report may have had other decisions. */
  function restore() {
    for (const [row, decision] of Object.entries(rows.decided)) decisions.set(Number(row), decision);
    let before = null;
    try { before = JSON.parse(kept(place)); } catch { /* not ours */ }
    if (!Array.isArray(before?.made) || !before.taken || typeof before.taken !== "object") return;
    const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
    const made = new Map();
    for (const one of before.made) {
      if (!Array.isArray(one)) continue;
      const [row, action, label] = one;
      const known = Number.isInteger(row) && row >= 0 && rows.may.includes(action);
      if (known && (action !== "relabel" || rows.labels.includes(label))) made.set(row, [action, action === "relabel" ? label : null]);
    }
    for (const [row, decision] of made) if (!same(before.taken[row], decision)) decisions.set(row, decision);
    for (const row of Object.keys(before.taken)) {
      if (!made.has(Number(row)) && same(before.taken[row], rows.decided[row])) decisions.delete(Number(row));
    }
  }

  function decide(row, decision) {
    if (decision) decisions.set(row, decision);
    else decisions.delete(row);
    remember();
    const cell = document.querySelector(`#table td[data-row="${row}"]`);
    if (cell) mark(cell, rows.index.get(row));
  }

  function remember() {
    const made = [...decisions].map(([row, [action, label]]) => [row, action, label]);
    kept(place, JSON.stringify({ taken: rows.decided, made }));
    const counts = ACTIONS.map((action) => [action, [...decisions.values()].filter((one) => one[0] === action).length]);
    const parts = counts.filter(([, count]) => count).map(([action, count]) => `${count.toLocaleString("en")} to ${action}`);
    byId("decisions").textContent = decisions.size ? `${many(decisions.size, "decision")}: ${parts.join(", ")}` : "No decision yet";
    byId("decided").hidden = decisions.size === 0;
  }

  function download() {
    const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
    const lines = [...decisions].sort((one, other) => one[0] - other[0]).map(([row, [action, label]]) => `${row},${action},${label === null ? "" : quoted(label)}`);
    const url = URL.createObjectURL(new Blob([["row,action,label", ...lines, ""].join("\n")], { type: "text/csv" }));
    make("a", { href: url, download: "decisions.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  // ---- the map --------------------------------------------------------------------------------------------
  const KINDS = [["none", "no issue"], ["label", "label issue"], ["style", "style issue"], ["trigger", "trigger"]];
  const off = new Set();
  let kinds = [];

  const kindOf = (place) => (has(place, "trigger") ? "trigger" : has(place, "style") ? "style" : rows.flags[place] && !has(place, "trusted_text") ? "label" : "none");

  function glyph(pen, kind, x, y, size) {
    pen.beginPath();
    if (kind === "none") { pen.arc(x, y, size * 0.5, 0, 7); pen.fill(); }
    else if (kind === "label") { pen.arc(x, y, size * 0.8, 0, 7); pen.stroke(); }
    else if (kind === "style") { pen.moveTo(x - size, y); pen.lineTo(x + size, y); pen.moveTo(x, y - size); pen.lineTo(x, y + size); pen.stroke(); }
    else { pen.moveTo(x, y - size); pen.lineTo(x + size, y); pen.lineTo(x, y + size); pen.lineTo(x - size, y); pen.closePath(); pen.fill(); pen.stroke(); }
  }

  function colours() {
    return Object.fromEntries(KINDS.map(([kind]) => [kind, getComputedStyle(document.querySelector(`.glyph-${kind}`)).color]));
  }

  function draw() {
    const canvas = byId("plot");
    if (!canvas || !rows.places) return;
    const { width, height } = canvas.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
    if (!width) return;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d"), colour = colours(), paper = getComputedStyle(canvas.parentElement).backgroundColor;
    pen.scale(scale, scale);
    const size = rows.texts.length > 4000 ? 3 : 4;
    for (const [kind] of KINDS) {
      if (off.has(kind)) continue;
      pen.fillStyle = colour[kind];
      pen.strokeStyle = kind === "trigger" ? paper : colour[kind];
      pen.lineWidth = kind === "trigger" ? 0.8 : 1.4;
      pen.globalAlpha = kind === "none" ? 0.55 : kind === "trigger" ? 1 : 0.85;
      kinds.forEach((one, n) => { if (one === kind && rows.places[0][n] >= 0) glyph(pen, kind, ...spot(n, width, height), size); });
    }
  }

  const spot = (n, width, height) => [8 + (rows.places[0][n] / 1000) * (width - 16), height - 8 - (rows.places[1][n] / 1000) * (height - 16)];

  function nearest(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    let best = -1, least = 14 ** 2;
    for (let n = 0; n < kinds.length; n++) {
      if (rows.places[0][n] < 0 || off.has(kinds[n])) continue;
      const [px, py] = spot(n, box.width, box.height);
      const distance = (px - x) ** 2 + (py - y) ** 2 - (kinds[n] === "none" ? 0 : 2);
      if (distance < least) [best, least] = [n, distance];
    }
    return best;
  }

  function startMap() {
    const canvas = byId("plot");
    if (!canvas || !rows.places) return;
    kinds = rows.texts.map((_, n) => kindOf(n));
    for (const [kind, words] of KINDS) {
      const count = kinds.filter((one, n) => one === kind && rows.places[0][n] >= 0).length;
      const box = make("input", { type: "checkbox" });
      box.checked = true;
      box.addEventListener("change", () => { if (box.checked) off.delete(kind); else off.add(kind); draw(); });
      const key = make("canvas", { class: `glyph-${kind}`, width: 28, height: 28, "aria-hidden": "true" });
      byId("legend").append(make("label", { hidden: count === 0 }, box, key, `${words}, ${count.toLocaleString("en")}`));
    }
    const keys = () => {
      const colour = colours();
      for (const [kind] of KINDS) {
        const key = document.querySelector(`.glyph-${kind}`), pen = key.getContext("2d");
        pen.clearRect(0, 0, 28, 28);
        [pen.fillStyle, pen.strokeStyle, pen.lineWidth] = [colour[kind], colour[kind], 2.4];
        glyph(pen, kind, 14, 14, 9);
      }
      draw();
    };
    canvas.addEventListener("pointermove", (event) => {
      const n = nearest(event);
      byId("point").replaceChildren(...(n < 0 ? [] : [`row ${rows.numbers[n]}, `, data(cut(rows.labels[rows.given[n]], 40)), ": ", data(cut(rows.texts[n], 240))]));
    });
    canvas.addEventListener("click", (event) => {
      const n = nearest(event);
      if (n < 0) return;
      reset({ show: "all", query: `#${rows.numbers[n]}` });
    });
    new ResizeObserver(draw).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", keys);
    document.addEventListener("themed", keys);
    keys();
  }

  // ---- the controls ---------------------------------------------------------------------------------------
  function fill(id, options) {
    byId(id).replaceChildren(...options.map(([value, words]) => make("option", { value }, ...textOf(words))));
  }

  /** Show other rows from the first on, and bring them into sight. */
  function reset(changes) {
    Object.assign(view, { query: "", show: "suspects", label: "", action: "", group: null }, changes);
    for (const id of ["query", "show", "label", "action"]) byId(id).value = view[id];
    const chosen = byId("chosen");
    chosen.hidden = view.group === null;
    chosen.firstElementChild.replaceChildren(...(view.group ? view.group.title : []));
    find();
    byId("rows").focus({ preventScroll: true });
    byId("rows-section").scrollIntoView({ block: "start" });
  }

  function startControls() {
    fill("show", [["suspects", "suspects"], ["all", "all rows"], ...rows.checks.filter((check) => rows.flags.some((flags) => flags & bit(check))).map((check) => [`check:${check}`, NAMES[check] ?? check]), ["decided", "decided here"]]);
    fill("label", [["", "any"], ...rows.labels.map((label, n) => [n, cut(label, 40)])]);
    fill("action", [["", "anything"], ...rows.may.map((action) => [action, action])]);
    fill("sort", Object.entries(SORTS).map(([key, [words]]) => [key, words()]));
    let wait;
    byId("query").addEventListener("input", () => {
      clearTimeout(wait);
      wait = setTimeout(() => { view.query = byId("query").value.trim(); find(); }, 120);
    });
    for (const id of ["show", "label", "action"]) byId(id).addEventListener("change", () => { view[id] = byId(id).value; find(); });
    byId("sort").addEventListener("change", () => {
      view.sort = byId("sort").value;
      view.up = rises(view.sort);
      find();
    });
    byId("size").addEventListener("change", () => { view.size = Number(byId("size").value); view.page = 0; list(); });
    byId("before").addEventListener("click", () => turn(-1));
    byId("after").addEventListener("click", () => turn(1));
    byId("download").addEventListener("click", download);
    byId("clear").addEventListener("click", () => { decisions.clear(); remember(); find(); byId("rows").focus({ preventScroll: true }); });
    byId("chosen").querySelector("button").addEventListener("click", () => reset({}));
    for (const button of document.querySelectorAll(".show-rows")) {
      button.addEventListener("click", () => {
        const { phrase, rows: numbers } = rows.groups[Number(button.dataset.group)];
        const title = phrase === null ? ["Rows that are put alike"] : ["Rows with ", data(cut(phrase, 80))];
        reset({ show: "all", group: { rows: new Set(numbers), phrase, title } });
      });
    }
    byId("tools").hidden = false;
  }

  function startPage() {
    const theme = byId("theme"), root = document.documentElement;
    const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
    const show = () => { theme.setAttribute("aria-pressed", String(dark())); document.dispatchEvent(new Event("themed")); };
    const before = kept("musclelora.theme");
    if (before === "light" || before === "dark") root.dataset.theme = before;
    theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; kept("musclelora.theme", root.dataset.theme); show(); });
    show();
    const copy = byId("copy");
    if (navigator.clipboard) {
      copy.hidden = false;
      copy.addEventListener("click", async () => {
        await navigator.clipboard.writeText(byId("command").textContent);
        copy.textContent = "Copied";
        setTimeout(() => { copy.textContent = "Copy"; }, 2000);
      });
    }
    let themed;
    addEventListener("beforeprint", () => { themed = root.dataset.theme; root.dataset.theme = "light"; show(); if (rows) list(0, PRINTED); });
    addEventListener("afterprint", () => { if (themed) root.dataset.theme = themed; else delete root.dataset.theme; show(); if (rows) list(); });
  }

  async function start() {
    startPage();
    try {
      rows = await unpack();
    } catch (error) {
      const failure = byId("failure");
      failure.textContent = "This browser cannot unpack the rows; a version of 2024 or later can.";
      failure.hidden = false;
      throw error;
    }
    restore();
    startControls();
    remember();
    if (!rows.suspect.includes(true)) { view.show = "all"; byId("show").value = "all"; }
    find();
    startMap();
    document.documentElement.dataset.ready = "yes";
    performance.mark("report-ready");
  }

  start();
})();
