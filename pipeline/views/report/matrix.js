"use strict";
// Attention maps of one utterance: a matrix for one layer and head, or, for a model that looks in hops, a curve for each hop over each stream.
{
  const D = R.data, B = Bokeh, panel = R.id("map"), cell = R.id("cell"), strongest = R.id("strongest");
  const withMaps = D.utterances.filter((u) => (D.maps[u.index] || []).length);
  const choice = (label, id) => {
    const select = R.el("select", { id });
    R.id("choices").append(R.el("label", {}, label + " ", select));
    return select;
  };
  if (!withMaps.length) {
    panel.append(R.el("p", { class: "absent" }, "There are no attention maps: the model has none, or none were kept."));
  } else {
    const utterance = choice("utterance", "map-utterance"), which = choice("who looks at what", "map-pair"), layer = choice("layer", "map-layer"), head = choice("head", "map-head");
    const legend = R.el("span", {});
    R.id("choices").append(legend);
    for (const u of withMaps) utterance.append(R.el("option", { value: u.index }, u.index + " · " + R.clock(u.start, 1) + " · " + (u.text ? (u.text.length > 42 ? u.text.slice(0, 40) + "…" : u.text) : "no words")));
    const decoded = new Map();
    const weightsOf = (m) => {
      if (decoded.has(m)) return decoded.get(m);
      const [L, H, n, k] = m.root.shape, raw = R.bytes(m.root), values = new Float32Array(raw.length), each = n * k;
      for (let a = 0; a < raw.length; a++) { const at = Math.floor(a / each), root = raw[a] / 255; values[a] = root * root * m.most[Math.floor(at / H)][at % H]; }
      decoded.set(m, values);
      return values;
    };
    const sideOf = (side) => ({ start: R.floats(side.start), end: R.floats(side.end), labels: side.labels || null, stream: side.stream });
    const title = (m) => (m.target.stream === "utterance" ? "hops over each stream" : m.target.stream + " looks at " + m.source.stream) + (m.kind === "cross" ? "" : " (" + (m.kind === "self" ? "within itself" : "in the readout") + ")");
    const fill = (select, entries, keep) => {
      select.replaceChildren(...entries.map(([value, text]) => R.el("option", { value }, text)));
      if (entries.some(([value]) => String(value) === keep)) select.value = keep;
    };
    const mapsOf = () => D.maps[utterance.value];
    const hops = () => mapsOf().filter((m) => m.target.stream === "utterance");
    const offer = () => {
      const counts = {}, entries = [];
      let hop = false;
      mapsOf().forEach((m, i) => {
        if (m.target.stream === "utterance") { if (!hop) entries.push([i, title(m)]); hop = true; return; }
        const name = title(m);
        counts[name] = (counts[name] || 0) + 1;
        entries.push([i, name + (counts[name] > 1 ? ", map " + counts[name] : "")]);
      });
      fill(which, entries, which.value);
      offerLayers();
    };
    const offerLayers = () => {
      const [L, H] = mapsOf()[which.value].root.shape, kept = [layer.value, head.value];
      fill(layer, Array.from({ length: L }, (_, i) => [i, i + 1 + (i === L - 1 ? " (last)" : "")]), kept[0] || String(L - 1));
      fill(head, [["mean", "mean of " + H], ...Array.from({ length: H }, (_, i) => [i, String(i + 1)])], kept[1]);
      draw();
    };
    const spanText = (side, i) => (side.labels && side.labels[i] ? "“" + side.labels[i] + "”" : side.stream) + " " + side.start[i].toFixed(2) + "–" + side.end[i].toFixed(2) + " s";
    const labelled = (side) => {
      const n = side.start.length, ticks = [], names = new Map(), words = side.labels !== null, every = words ? 1 : Math.max(1, Math.ceil(n / 10));
      for (let i = 0; i < n; i += every) { ticks.push(i + 0.5); names.set(i + 0.5, words ? side.labels[i] : side.start[i].toFixed(2)); }
      return { ticks, names };
    };
    const clear = () => { panel.replaceChildren(); R.figures = R.figures.filter((f) => !shown.includes(f)); shown = []; };
    let shown = [], current = null;
    const show = (figure, target) => { shown.push(figure); return R.show(figure, target); };

    const draw = () => {
      clear();
      const m = mapsOf()[which.value], curves = m.target.stream === "utterance";
      for (const s of [layer, head]) s.parentElement.hidden = curves;
      legend.hidden = curves;
      cell.textContent = "";
      if (curves) drawHops(); else drawMatrix(m);
    };
    const drawMatrix = (m) => {
      const [, H, n, k] = m.root.shape, all = weightsOf(m), l = Number(layer.value), target = sideOf(m.target), source = sideOf(m.source);
      const heads = head.value === "mean" ? Array.from({ length: H }, (_, h) => h) : [Number(head.value)], values = new Float32Array(n * k);
      for (const h of heads) for (let i = 0; i < n; i++) for (let j = 0; j < k; j++) values[(n - 1 - i) * k + j] += all[((l * H + h) * n + i) * k + j] / heads.length;
      let most = 0;
      for (const x of values) if (x > most) most = x;
      const at = (i, j) => values[(n - 1 - i) * k + j];
      const wordsBelow = source.labels !== null;
      const height = Math.min(560, Math.max(120, n * (target.labels ? 17 : 4))) + (wordsBelow ? 70 : 44);
      const plot = R.el("div", { role: "img", "aria-label": "Attention matrix: " + title(m) + ". The strongest cells are named below it." });
      panel.append(plot);
      const longest = target.labels ? Math.max(...target.labels.map((t) => t.length)) : 5;
      const figure = R.figure({ height, x_range: new B.Range1d({ start: 0, end: k }), y_range: new B.Range1d({ start: 0, end: n }), min_border_left: Math.min(170, Math.max(64, 7 * longest + 16)) });
      const x = labelled(source), y = labelled(target);
      R.axis(figure, "below", { ticker: new B.FixedTicker({ ticks: x.ticks }), major_label_overrides: x.names, major_label_orientation: wordsBelow ? 0.9 : "horizontal", axis_label: source.stream + (wordsBelow ? "" : ", seconds"), axis_label_text_font_size: "12px", axis_label_text_font_style: "normal" });
      R.axis(figure, "left", { ticker: new B.FixedTicker({ ticks: y.ticks.map((t) => n - t) }), major_label_overrides: new Map([...y.names].map(([t, name]) => [n - t, name])), axis_label: target.labels ? null : target.stream + ", seconds", axis_label_text_font_size: "12px", axis_label_text_font_style: "normal" });
      R.draw(figure, new B.Image({ image: { field: "image" }, x: { value: 0 }, y: { value: 0 }, dw: { value: k }, dh: { value: n }, color_mapper: new B.LinearColorMapper({ palette: R.palette, low: 0, high: most || 1 }) }), { image: [R.image(values, n, k)] });
      legend.replaceChildren(R.scale("0", most.toPrecision(2)));
      R.matrix = { values, n, k, most };
      const view = show(figure, plot);
      const where = async (e) => {
        const box = (await view).frame.bbox, area = plot.getBoundingClientRect();
        const j = Math.floor(((e.clientX - area.left - box.left) / box.width) * k), i = Math.floor(((e.clientY - area.top - box.top) / box.height) * n);
        return i >= 0 && i < n && j >= 0 && j < k ? [i, j] : null;
      };
      plot.addEventListener("pointermove", async (e) => { const p = await where(e); if (p) cell.textContent = spanText(target, p[0]) + " looks at " + spanText(source, p[1]) + ": " + at(...p).toPrecision(3); });
      plot.addEventListener("click", async (e) => { const p = await where(e); if (p) R.seek(source.start[p[1]]); });
      const order = Array.from(values.keys()).sort((a, b) => values[b] - values[a]).slice(0, 5);
      strongest.textContent = "Strongest here: " + order.map((a) => { const i = n - 1 - Math.floor(a / k), j = a % k; return spanText(target, i) + " → " + spanText(source, j) + " (" + values[a].toPrecision(2) + ")"; }).join("; ") + ".";
    };
    const drawHops = () => {
      const colours = ["--curve", "--curve-2", "--curve-3"], u = D.utterances[utterance.value], found = [];
      for (const m of hops()) {
        const [L, H, , k] = m.root.shape, all = weightsOf(m), source = sideOf(m.source), middle = Float32Array.from(source.start, (s, j) => (s + source.end[j]) / 2), lists = [];
        for (let l = 0; l < L; l++) lists.push(Float32Array.from({ length: k }, (_, j) => { let s = 0; for (let h = 0; h < H; h++) s += all[(l * H + h) * k + j]; return s / H; }));
        const most = Math.max(...lists.map((list) => Math.max(...list)), 1e-9), plot = R.el("div", { role: "img", "aria-label": "Share of each hop's look over the " + source.stream + " in time." });
        panel.append(R.el("div", { class: "lane" }, R.el("div", { class: "row" }, R.el("h3", {}, "Looks at the " + source.stream), ...lists.map((_, l) => R.el("span", { class: "chip" }, R.el("i", { class: "thin", style: { background: "var(" + colours[l % 3] + ")" } }), "hop " + (l + 1)))), plot));
        const figure = R.figure({ height: 130, x_range: new B.Range1d({ start: u.start, end: u.end }), y_range: new B.Range1d({ start: 0, end: most * 1.08 }) });
        R.axis(figure, "below", {});
        R.grid(figure, R.axis(figure, "left", { ticker: new B.BasicTicker({ desired_num_ticks: 4 }) }), 1);
        lists.forEach((list, l) => {
          R.draw(figure, new B.Line({ x: { field: "x" }, y: { field: "y" }, line_color: { value: R.css(colours[l % 3]) }, line_width: { value: 1.8 }, line_dash: { value: [[], [6, 3], [2, 2]][l % 3] } }), { x: middle, y: list }, ["line_color=" + colours[l % 3]]);
          const j = list.indexOf(Math.max(...list));
          found.push("hop " + (l + 1) + " looks most at " + spanText(source, j) + " (" + list[j].toPrecision(2) + ")");
        });
        const view = show(figure, plot);
        plot.addEventListener("click", async (e) => { const box = (await view).frame.bbox, part = (e.clientX - plot.getBoundingClientRect().left - box.left) / box.width; if (part >= 0 && part <= 1) R.seek(u.start + part * (u.end - u.start)); });
      }
      strongest.textContent = found.join("; ") + ".";
    };
    utterance.addEventListener("change", () => { current = Number(utterance.value); offer(); });
    which.addEventListener("change", offerLayers);
    for (const s of [layer, head]) s.addEventListener("change", draw);
    // The map follows the clip to another utterance.
    R.followers.push((t) => {
      const u = R.utteranceAt(t);
      if (u === null || u.index === current || !D.maps[u.index]) return;
      current = u.index;
      utterance.value = u.index;
      offer();
    });
    current = withMaps[0].index;
    offer();
  }
}
