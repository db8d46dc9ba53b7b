"use strict";
// The table of a batch: sorted by any column, searched as one types, drawn a few hundred rows at a time.
{
  const data = JSON.parse(document.getElementById("data").textContent), AT_ONCE = 300;
  const colours = data.palette.emotions;
  const id = (name) => document.getElementById(name);
  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
    for (const child of children) if (child !== null) node.append(child); // strings become text, never HTML
    return node;
  };
  const dark = matchMedia("(prefers-color-scheme: dark)"), theme = () => { document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; };
  dark.addEventListener("change", theme);
  theme();

  const length = (s) => (s === null ? "" : s < 60 ? s.toFixed(1) + " s" : Math.floor(s / 60) + ":" + String(Math.floor(s % 60)).padStart(2, "0") + " min");
  const columns = [
    { title: "", name: "picture", cell: (r) => el("td", { class: "picture" }, r.picture === null ? null : el("img", { src: r.picture, alt: "", loading: "lazy" })) },
    { title: "Clip", name: "name", key: (r) => r.name.toLowerCase(), cell: (r) => el("td", { class: "name", title: r.path }, r.link === null ? r.name : el("a", { href: r.link }, r.name)) },
    { title: "State", name: "state", key: (r) => r.state, cell: (r) => el("td", {}, el("span", { class: "state " + r.state }, r.state)) },
    { title: "Length", name: "length", number: true, key: (r) => r.length, cell: (r) => el("td", { class: "number" }, length(r.length)) },
    { title: "Utterances", name: "utterances", number: true, key: (r) => r.utterances, cell: (r) => el("td", { class: "number" }, r.utterances === null ? "" : String(r.utterances)) },
    { title: "Emotion", name: "emotion", key: (r) => r.emotion, cell: (r) => { const chip = el("i"); chip.style.background = colours[r.emotion] || "transparent"; return el("td", {}, r.emotion === null ? "" : el("span", { class: "chip" }, chip, r.emotion)); } },
    { title: "Probability", name: "probability", number: true, key: (r) => r.probability, cell: (r) => el("td", { class: "number" }, r.probability === null ? "" : r.probability.toFixed(2)) },
    { title: "Why not", name: "reason", key: (r) => r.reason, cell: (r) => el("td", { class: "why" }, r.reason === null ? "" : r.reason.replaceAll("_", " ") + (r.message ? ": " + r.message : "")) },
  ];
  let sorted = { name: null, up: true }, shown = [], drawn = 0;
  const heads = columns.map((column) => {
    const head = el("th", { scope: "col", class: column.number ? "number" : null });
    if (column.key) {
      const button = el("button", { type: "button" }, column.title);
      button.addEventListener("click", () => { sorted = { name: column.name, up: sorted.name === column.name ? !sorted.up : true }; refresh(); });
      head.append(button);
    } else head.append(el("span", { class: "skip" }, "picture"));
    id("clips").tHead.rows[0].append(head);
    return head;
  });
  const states = ["all", ...new Set(data.rows.map((r) => r.state))];
  for (const state of states) id("state").append(el("option", { value: state }, state === "all" ? "all states" : state));

  const body = id("clips").tBodies[0];
  const draw = () => {
    const part = document.createDocumentFragment();
    for (const row of shown.slice(drawn, drawn + AT_ONCE)) part.append(el("tr", {}, ...columns.map((column) => column.cell(row))));
    drawn = Math.min(shown.length, drawn + AT_ONCE);
    body.append(part);
    id("more").hidden = drawn >= shown.length;
  };
  const refresh = () => {
    const wanted = id("search").value.toLowerCase().split(/\s+/).filter(Boolean), state = id("state").value;
    const text = (r) => [r.name, r.path, r.state, r.emotion, r.reason, r.message].filter((x) => x !== null).join(" ").toLowerCase();
    shown = data.rows.filter((r) => (state === "all" || r.state === state) && wanted.every((w) => text(r).includes(w)));
    const column = columns.find((c) => c.name === sorted.name);
    if (column) shown.sort((a, b) => {
      const x = column.key(a), y = column.key(b);
      if (x === null || y === null) return (x === null) - (y === null); // what is not there comes last, either way
      return (x < y ? -1 : x > y ? 1 : 0) * (sorted.up ? 1 : -1);
    });
    columns.forEach((c, i) => { if (c.key) heads[i].setAttribute("aria-sort", c.name !== sorted.name ? "none" : sorted.up ? "ascending" : "descending"); });
    body.replaceChildren();
    drawn = 0;
    draw();
    id("count").textContent = shown.length === data.rows.length ? shown.length + " clips" : shown.length + " of " + data.rows.length + " clips";
  };
  id("search").addEventListener("input", refresh);
  id("state").addEventListener("change", refresh);
  id("more").firstElementChild.addEventListener("click", draw);
  const count = (state) => data.rows.filter((r) => r.state === state).length;
  id("facts").textContent = states.slice(1).map((s) => count(s) + " " + s).join(" · ") + " · emofuse " + data.version;
  refresh();
}
