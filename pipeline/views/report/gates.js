"use strict";
// The gates of the chosen utterance: a row for each gate, a number and a bar for each layer or hop.
{
  const D = R.data;

  class Gates {
    constructor({ step, meanings }) {
      this.panel = R.id("gates");
      this.step = step;
      this.meanings = Object.entries(meanings);
      this.panel.hidden = false;
      const select = R.id("map-utterance");
      if (select) select.addEventListener("change", () => this.show(D.utterances[select.value]));
      R.followers.push((time) => this.show(R.utteranceAt(time)));
      this.show(D.utterances.find((one) => one.gates));
    }

    show(utterance) {
      if (!utterance || !utterance.gates || utterance.index === this.current) return;
      this.current = utterance.index;
      const most = Math.max(...Object.values(utterance.gates).map((values) => values.length));
      const steps = Array.from({ length: most }, (_, i) => this.step + " " + (i + 1));
      const rows = this.meanings.map(([name, text]) => this.row(name, text, utterance.gates[name] || [], steps));
      const head = ["gate", ...steps, "what it means"].map((name, i) =>
        R.el("th", { scope: "col", class: i === 0 || i > most ? "text" : null }, name),
      );
      this.panel
        .querySelector("table")
        .replaceChildren(R.el("thead", {}, R.el("tr", {}, ...head)), R.el("tbody", {}, ...rows));
      this.panel.querySelector("output").textContent = "Utterance " + utterance.index + ": " + utterance.text;
    }

    row(name, text, values, steps) {
      const cells = steps.map((step, i) => {
        if (i >= values.length) return R.el("td", { "data-label": step, class: "empty" }, "–");
        const part = Math.min(1, Math.max(0, values[i]));
        return R.el("td", { "data-label": step, class: "part", style: { "--part": part } }, values[i].toFixed(2));
      });
      const meaning = R.el("td", { class: "text", "data-label": "means" }, text);
      return R.el("tr", {}, R.el("th", { scope: "row", class: "text" }, name), ...cells, meaning);
    }
  }

  if (D.gates) new Gates(D.gates);
}
