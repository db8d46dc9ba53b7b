"use strict";
// Everything that is read and not drawn: facts, the table of utterances, flags, the model's card, provenance.
{
  const D = R.data,
    C = D.clip;

  // Nested facts as they are.
  const shown = (value) => {
    if (value === null) return "none";
    if (Array.isArray(value)) {
      const flat = value.every((one) => typeof one !== "object") && value.join(", ").length < 90;
      return flat ? value.join(", ") || "none" : R.el("ul", {}, ...value.map((one) => R.el("li", {}, shown(one))));
    }
    if (typeof value === "object") return facts(Object.entries(value));
    return String(value);
  };
  const facts = (entries) => {
    if (!entries.length) return "none";
    const pair = ([key, value]) => [R.el("dt", {}, key.replaceAll("_", " ")), R.el("dd", {}, shown(value))];
    return R.el("dl", {}, ...entries.flatMap(pair));
  };

  const headline = () => {
    const parts = [
      R.duration(R.length),
      "whole clip: " + R.answer(D.summary),
      R.plural(D.utterances.length, "utterance") + ", cut by " + C.cut_by,
      "model " + D.model.extractor,
      "emofuse " + D.version,
    ];
    R.id("facts").textContent = parts.join(" · ");
    const warn = (text) => R.id("warnings").append(R.el("p", { class: "notice" }, text));
    if (C.ends_early) warn("The clip ends before its container says it does: it may be cut off.");
    if (C.broken_packets) {
      const verb =
        C.broken_packets === 1
          ? " of the clip could not be decoded; it is a gap."
          : " of the clip could not be decoded; each is a gap.";
      warn(R.plural(C.broken_packets, "packet") + verb);
    }
  };

  // The table of utterances; on a narrow page each row becomes a card, so that nothing is hidden.
  class Answers {
    constructor() {
      this.table = R.id("table");
      this.sentiment = D.utterances.some((one) => one.sentiment !== null);
      this.speakers = D.utterances.some((one) => one.speaker);
      const who = this.speakers ? ["speaker"] : [];
      this.heads = ["time", ...who, ...D.emotions, ...(this.sentiment ? ["sentiment"] : []), "confidence"];
      const head = (text) =>
        R.el("th", { scope: "col", class: ["words", "flags", "speaker"].includes(text) ? "text" : null }, text);
      this.table.append(
        R.el(
          "caption",
          { class: "muted" },
          "Probabilities of each emotion, 0 to 1; the last row is the whole clip.",
        ),
        R.el("thead", {}, R.el("tr", {}, ...[...this.heads, "words", "flags"].map(head))),
      );
      this.rows = D.utterances.map((one) =>
        this.row(this.go(one), one, one.text, one.flags.map(R.flagText).join(", ")),
      );
      const clip = R.el("th", { scope: "row", "data-label": "" }, "clip");
      this.table.append(R.el("tbody", {}, ...this.rows, this.row(clip, D.summary, "", "")));
      R.followers.push((time) => this.follow(time));
    }

    go(one) {
      const label = "Go to utterance " + one.index + " at " + R.clock(one.start);
      const button = R.el(
        "button",
        { type: "button", "aria-label": label, on: { click: () => R.seek(one.start) } },
        R.clock(one.start),
      );
      return R.el("td", { "data-label": "time" }, button);
    }

    row(first, one, text, flags) {
      const cell = (label, value, digits = 2) =>
        R.el(
          "td",
          { "data-label": label, class: label === one.emotion ? "most" : null },
          value === null ? "–" : value.toFixed(digits),
        );
      const cells = D.emotions.map((emotion) =>
        cell(emotion, one.probabilities ? one.probabilities[emotion] : null),
      );
      if (this.sentiment) cells.push(cell("sentiment", one.sentiment));
      cells.push(cell("confidence", one.confidence));
      const words = (label, value) =>
        R.el("td", { class: value ? "text" : "text empty", "data-label": label }, value);
      const who = this.speakers ? [words("speaker", one.speaker || "")] : [];
      return R.el("tr", {}, first, ...who, ...cells, words("words", text), words("flags", flags));
    }

    follow(time) {
      const utterance = R.utteranceNow(time),
        row = utterance ? this.rows[utterance.index] : null;
      if (row === this.here) return;
      if (this.here) this.here.classList.remove("here");
      if (row) row.classList.add("here");
      this.here = row;
    }
  }

  const cautions = () => {
    const panel = R.id("flags"),
      reasons = Object.entries(D.reasons),
      flagged = D.utterances.filter((one) => one.flags.length);
    if (D.face && D.face.text) panel.append(R.el("p", {}, "Face: " + D.face.text + "."));
    if (reasons.length) panel.append(facts(reasons));
    if (flagged.length) {
      const used = [...new Set(flagged.flatMap((one) => one.flags))];
      panel.append(
        R.el(
          "dl",
          {},
          ...used.flatMap((flag) => [R.el("dt", {}, R.flagText(flag)), R.el("dd", {}, D.flags[flag] || "")]),
        ),
      );
      const why = (one) =>
        Object.entries(one.reasons)
          .map(([name, reason]) => name + ": " + reason)
          .join("; ");
      const entry = (one) => [
        R.el("dt", {}, R.clock(one.start, 1)),
        R.el("dd", {}, one.flags.map(R.flagText).join(", ") + (why(one) ? " (" + why(one) + ")" : "")),
      ];
      const verb = flagged.length === 1 ? " has a flag" : " have a flag";
      const summary = flagged.length + " of " + R.plural(D.utterances.length, "utterance") + verb;
      panel.append(
        R.el(
          "details",
          { open: flagged.length <= 3 },
          R.el("summary", {}, summary),
          R.el("dl", {}, ...flagged.flatMap(entry)),
        ),
      );
    }
    if (!reasons.length && !flagged.length) panel.append(R.el("p", {}, "Nothing was flagged."));
  };

  const provenance = () => {
    const card = (D.model.notes || {}).card || {},
      told = ["intended_use", "limits", "licence"].filter((key) => card[key]);
    if (told.length)
      R.id("card").append(R.el("h3", {}, "The model's own card"), facts(told.map((key) => [key, card[key]])));
    const panel = R.id("provenance");
    const fold = (title, value) => panel.append(R.el("details", {}, R.el("summary", {}, title), shown(value)));
    fold("Clip: " + C.name + (C.sha256 ? ", SHA-256 " + C.sha256.slice(0, 12) + "…" : ""), C);
    for (const [name, stream] of Object.entries(D.streams)) {
      fold("Stream " + name + ": " + stream.provenance.extractor + ", " + R.plural(stream.rows, "row"), stream);
    }
    fold("Model: " + D.model.extractor, D.model);
    for (const [name, value] of Object.entries(D.more))
      fold(name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " "), value);
  };

  headline();
  new Answers();
  cautions();
  provenance();
  R.at(0);
}
