"use strict";
// Everything that is read and not drawn: facts, the table of utterances, flags, the model's card, provenance.
{
  const D = R.data, C = D.clip, S = D.summary;
  const most = (p) => (p.emotion === null ? "no answer" : p.emotion + " " + R.percent(p.probabilities[p.emotion]));
  R.id("facts").textContent = [(R.length < 60 ? R.length.toFixed(1) + " s" : R.clock(R.length, 0) + " min"), "on the whole " + most(S), "model " + D.model.extractor, D.utterances.length + " utterances, cut by " + C.cut_by, "emofuse " + D.version].join(" · ");
  const warn = (text) => R.id("warnings").append(R.el("p", { class: "notice" }, text));
  if (C.ends_early) warn("The clip ends before its container says it does: it may be cut off.");
  if (C.broken_packets) warn(C.broken_packets + " packets of the clip could not be decoded; each is a gap.");

  const table = R.id("table"), some = D.utterances.some((u) => u.sentiment !== null);
  table.append(R.el("caption", { class: "muted", style: { "text-align": "left", "font-size": "13px" } }, "Probabilities of each emotion; the last row is the whole clip."));
  const heads = ["time", ...D.emotions, ...(some ? ["sentiment"] : []), "confidence"];
  table.append(R.el("thead", {}, R.el("tr", {}, ...heads.map((h) => R.el("th", { scope: "col" }, h)), R.el("th", { scope: "col", class: "text" }, "words"), R.el("th", { scope: "col", class: "text" }, "flags"))));
  const number = (x, d = 2) => R.el("td", {}, x === null ? "–" : x.toFixed(d));
  const answer = (u) => [...D.emotions.map((e) => (u.probabilities ? R.el("td", { style: u.emotion === e ? { "font-weight": 700 } : {} }, u.probabilities[e].toFixed(2)) : number(null))), ...(some ? [number(u.sentiment)] : []), number(u.confidence)];
  const rows = D.utterances.map((u) => R.el("tr", {}, R.el("td", {}, R.el("button", { type: "button", "aria-label": "Go to utterance " + u.index + " at " + R.clock(u.start), on: { click: () => R.seek(u.start) } }, R.clock(u.start))), ...answer(u), R.el("td", { class: "text" }, u.text), R.el("td", { class: "text" }, u.flags.map((f) => f.replaceAll("_", " ")).join(", "))));
  table.append(R.el("tbody", {}, ...rows, R.el("tr", {}, R.el("th", { scope: "row" }, "clip"), ...answer(S), R.el("td", { class: "text" }), R.el("td", { class: "text" }))));
  let row = null;
  R.followers.push((t) => {
    const u = R.utteranceAt(t), found = u && R.inside(u, t) ? rows[u.index] : null;
    if (found === row) return;
    if (row) row.classList.remove("here");
    if (found) found.classList.add("here");
    row = found;
  });

  const flags = R.id("flags"), reasons = Object.entries(D.reasons);
  if (reasons.length) flags.append(R.el("dl", {}, ...reasons.flatMap(([k, v]) => [R.el("dt", {}, k), R.el("dd", {}, v)])));
  const flagged = D.utterances.filter((u) => u.flags.length);
  if (flagged.length) flags.append(R.el("details", { open: flagged.length <= 6 }, R.el("summary", {}, flagged.length + " of " + D.utterances.length + " utterances carry a flag"), R.el("dl", {}, ...flagged.flatMap((u) => [R.el("dt", {}, R.clock(u.start, 1)), R.el("dd", {}, u.flags.map((f) => f.replaceAll("_", " ")).join(", ") + (Object.keys(u.reasons).length ? ": " + Object.entries(u.reasons).map(([k, v]) => k + ": " + v).join("; ") : ""))]))));
  if (!reasons.length && !flagged.length) flags.append(R.el("p", {}, "Nothing was flagged."));

  // Nested facts as they are.
  const shown = (value) => {
    if (value === null) return "none";
    if (Array.isArray(value)) return value.every((x) => typeof x !== "object") && value.join(", ").length < 90 ? value.join(", ") || "none" : R.el("ul", {}, ...value.map((x) => R.el("li", {}, shown(x))));
    if (typeof value === "object") return Object.keys(value).length ? R.el("dl", {}, ...Object.entries(value).flatMap(([k, v]) => [R.el("dt", {}, k.replaceAll("_", " ")), R.el("dd", {}, shown(v))])) : "none";
    return String(value);
  };
  const card = (D.model.notes || {}).card || {}, told = ["intended_use", "limits", "licence"].filter((k) => card[k]);
  if (told.length) R.id("card").append(R.el("h3", {}, "The model's own card"), R.el("dl", {}, ...told.flatMap((k) => [R.el("dt", {}, k.replaceAll("_", " ")), R.el("dd", {}, shown(card[k]))])));
  const P = R.id("provenance"), fold = (title, value) => P.append(R.el("details", {}, R.el("summary", {}, title), shown(value)));
  fold("Clip: " + C.name + (C.sha256 ? ", SHA-256 " + C.sha256.slice(0, 12) + "…" : ""), C);
  for (const [name, s] of Object.entries(D.streams)) fold("Stream " + name + ": " + s.provenance.extractor + ", " + s.rows + " rows", s);
  fold("Model: " + D.model.extractor, D.model);
  R.at(0);
}
