"use strict";
// The table of a batch: sorted by any column, searched as one types, drawn a few hundred rows at a time.
class Clips {
  constructor() {
    this.rows = R.data.rows;
    this.atOnce = 300;
    this.sorted = { name: null, up: true };
    this.columns = this.describe();
    this.body = R.el("tbody");
    this.heads = this.columns.map((column) => this.headOf(column));
    R.id("clips").append(R.el("thead", {}, R.el("tr", {}, ...this.heads)), this.body);
    const states = [...new Set(this.rows.map((row) => row.state))];
    for (const state of ["all", ...states]) {
      R.id("state").append(R.el("option", { value: state }, state === "all" ? "all states" : state));
    }
    R.id("search").addEventListener("input", () => this.refresh());
    R.id("state").addEventListener("change", () => this.refresh());
    R.id("more").firstElementChild.addEventListener("click", () => this.draw());
    const count = (state) => this.rows.filter((row) => row.state === state).length + " " + state;
    R.id("facts").textContent = [...states.map(count), "emofuse " + R.data.version].join(" · ");
    this.refresh();
  }

  describe() {
    const cell = (label, attributes, ...children) =>
      R.el("td", { "data-label": label, ...attributes }, ...children);
    const number = (label, text) => cell(label, { class: text === "" ? "number empty" : "number" }, text);
    return [
      { title: "Picture", cell: (row) => cell("", { class: "picture" }, this.picture(row)) },
      {
        title: "Clip",
        key: (row) => row.name.toLowerCase(),
        cell: (row) =>
          cell(
            "",
            { class: "name", title: row.path },
            row.link ? R.el("a", { href: row.link }, row.name) : row.name,
          ),
      },
      {
        title: "State",
        key: (row) => row.state,
        cell: (row) => cell("state", {}, R.el("span", { class: "state " + row.state }, row.state)),
      },
      { title: "Emotion", key: (row) => row.emotion, cell: (row) => cell("emotion", {}, this.emotion(row)) },
      {
        title: "Probability",
        key: (row) => row.probability,
        number: true,
        cell: (row) => number("probability", row.probability === null ? "" : row.probability.toFixed(2)),
      },
      {
        title: "Length",
        key: (row) => row.length,
        number: true,
        cell: (row) => number("length", row.length === null ? "" : R.duration(row.length)),
      },
      {
        title: "Utterances",
        key: (row) => row.utterances,
        number: true,
        cell: (row) => number("utterances", row.utterances === null ? "" : String(row.utterances)),
      },
      { title: "Why not", key: (row) => row.reason, cell: (row) => this.why(row) },
    ];
  }

  picture(row) {
    if (row.picture) return R.el("img", { src: row.picture, alt: "", loading: "lazy" });
    return R.el("span", { class: "nopicture", "aria-hidden": "true" }, row.state === "done" ? "♪" : "");
  }

  emotion(row) {
    if (row.emotion === null) return row.state === "done" ? R.el("span", { class: "muted" }, "no answer") : "";
    return R.el(
      "span",
      { class: "chip" },
      R.el("i", { style: { background: R.colours[row.emotion] || "transparent" } }),
      row.emotion,
    );
  }

  why(row) {
    const said =
      row.reason === null ? "" : row.reason.replaceAll("_", " ") + (row.message ? ": " + row.message : "");
    const text =
      said || (row.state === "done" && row.emotion === null ? "too little to answer from: see its page" : "");
    return R.el("td", { class: text ? "why" : "why empty", "data-label": "why not" }, text);
  }

  headOf(column) {
    const head = R.el("th", { scope: "col", class: column.number ? "number" : null });
    if (!column.key) return R.el("th", { scope: "col" }, R.el("span", { class: "skip" }, column.title));
    const again = () => this.sorted.name === column.title && this.sorted.up;
    const sort = () => {
      this.sorted = { name: column.title, up: !again() };
      this.refresh();
    };
    head.append(R.el("button", { type: "button", on: { click: sort } }, column.title));
    return head;
  }

  draw() {
    const part = document.createDocumentFragment(),
      next = this.shown.slice(this.drawn, this.drawn + this.atOnce);
    for (const row of next) part.append(R.el("tr", {}, ...this.columns.map((column) => column.cell(row))));
    this.drawn += next.length;
    this.body.append(part);
    R.id("more").hidden = this.drawn >= this.shown.length;
  }

  refresh() {
    const wanted = R.id("search").value.toLowerCase().split(/\s+/).filter(Boolean),
      state = R.id("state").value;
    const text = (row) =>
      [row.name, row.path, row.state, row.emotion, row.reason, row.message].filter(Boolean).join(" ").toLowerCase();
    const fits = (row) =>
      (state === "all" || row.state === state) && wanted.every((word) => text(row).includes(word));
    this.shown = this.rows.filter(fits);
    const column = this.columns.find((one) => one.title === this.sorted.name);
    if (column) this.shown.sort((a, b) => this.compare(column.key(a), column.key(b)));
    this.columns.forEach((one, i) => {
      const way = this.sorted.up ? "ascending" : "descending";
      if (one.key) this.heads[i].setAttribute("aria-sort", one === column ? way : "none");
    });
    this.body.replaceChildren();
    this.drawn = 0;
    this.draw();
    const all = R.plural(this.rows.length, "clip");
    R.id("count").textContent = this.shown.length === this.rows.length ? all : this.shown.length + " of " + all;
  }

  // What is not there comes last, either way.
  compare(x, y) {
    if (x === null || y === null) return (x === null) - (y === null);
    return (x < y ? -1 : x > y ? 1 : 0) * (this.sorted.up ? 1 : -1);
  }
}

new Clips();
