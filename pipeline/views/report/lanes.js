"use strict";
// The lanes over time, drawn by Bokeh on one shared range of seconds, with one cursor over all of them.
{
  const D = R.data, lanes = R.id("lanes"), B = Bokeh, LEFT = 64, RIGHT = 14;
  Bokeh.set_log_level("error");
  if (D.averaged !== null) {
    R.id("averaged").textContent = "A long clip: each point of a curve is the mean of " + D.averaged.toFixed(2) + " s. Every row is in streams/ and attention.csv.";
    R.id("averaged").hidden = false;
  }
  const range = new B.Range1d({ start: 0, end: R.length });
  R.figures = [];
  let view = null; // of the first lane

  R.figure = (options) => {
    const { x_range, y_range, ...rest } = options;
    const figure = new B.Figure({
      x_range, y_range, sizing_mode: "stretch_width", toolbar_location: null, min_border_left: LEFT, min_border_right: RIGHT,
      min_border_top: 6, min_border_bottom: 6, output_backend: "canvas", background_fill_color: null, border_fill_color: null, ...rest,
    });
    R.figures.push(figure);
    return figure;
  };
  const paint = (figure) => {
    const muted = R.css("--muted"), line = R.css("--line");
    figure.outline_line_color = line;
    for (const axis of [...figure.left, ...figure.below, ...figure.above]) if (axis.major_label_text_color !== undefined) {
      axis.major_label_text_color = muted; axis.axis_label_text_color = muted; axis.axis_line_color = line; axis.major_tick_line_color = line;
    }
    for (const grid of figure.center) if (grid instanceof B.Grid) grid.grid_line_color = line;
    for (const r of figure.renderers) if (r.glyph && r.tags.length) for (const tag of r.tags) {
      const [property, name] = tag.split("=");
      r.glyph[property] = { value: R.css(name) };
    }
  };
  R.themed.push(() => R.figures.forEach(paint));
  R.axis = (figure, side, options) => {
    const axis = new B.LinearAxis({ axis_line_width: 1, minor_tick_line_color: null, major_label_text_font_size: "11px", major_tick_in: 0, major_tick_out: 3, ...options });
    figure.add_layout(axis, side);
    return axis;
  };
  R.grid = (figure, axis, dimension) => figure.add_layout(new B.Grid({ axis, dimension, grid_line_alpha: 0.5 }));
  R.draw = (figure, glyph, data, tags = []) => {
    const source = new B.ColumnDataSource({ data });
    const renderer = new B.GlyphRenderer({ data_source: source, glyph, tags });
    figure.renderers = [...figure.renderers, renderer];
    return source;
  };
  R.show = (figure, target) => { paint(figure); return B.Plotting.show(figure, target); };
  const timeAxis = (figure) => R.axis(figure, "below", { ticker: new B.BasicTicker({ desired_num_ticks: 8, mantissas: [1, 2, 5] }), axis_label: "seconds", axis_label_text_font_size: "11px", axis_label_text_font_style: "normal", axis_label_standoff: 2 });
  const legend = (entries) => entries.map(([text, colour, thin]) => R.el("span", { class: "chip" }, R.el("i", { class: thin ? "thin" : "", style: { background: colour } }), text));

  // One lane: a heading with its legend, a picture with a description for those who do not see it, and a figure.
  const lane = (name, title, note, options, chips = []) => {
    const plot = R.el("div", { class: "plot", role: "img", "aria-label": title + ". " + note });
    lanes.append(R.el("div", { class: "lane", id: "lane-" + name }, R.el("div", { class: "row" }, R.el("h3", {}, title), ...chips), plot));
    const figure = R.figure({ x_range: range, ...options });
    return { figure, plot };
  };
  const absent = (title, why) => lanes.append(R.el("div", { class: "lane" }, R.el("div", { class: "row" }, R.el("h3", {}, title)), R.el("p", { class: "absent" }, why)));
  const all = [];
  const add = (made) => { all.push(made); return made.figure; };

  // Labels in boxes are shown where they fit.
  const fitting = [];
  const labels = (figure, boxes, size) => {
    const source = R.draw(figure, new B.Text({ x: { field: "x" }, y: { field: "y" }, text: { field: "text" }, text_color: { field: "colour" }, text_font_size: { value: size + "px" }, text_align: { value: "center" }, text_baseline: { value: "middle" } }), { x: [], y: [], text: [], colour: [] });
    fitting.push((pixelsPerSecond) => {
      const data = { x: [], y: [], text: [], colour: [] };
      for (const b of boxes) {
        if (b.end < range.start || b.start > range.end) continue;
        const width = (b.end - b.start) * pixelsPerSecond, text = b.texts.find((t) => t.length * size * 0.56 + 4 <= width);
        if (text) { data.x.push((b.start + b.end) / 2); data.y.push(b.y); data.text.push(text); data.colour.push(typeof b.colour === "function" ? b.colour() : b.colour); }
      }
      source.data = data;
    });
  };

  const U = D.utterances, answered = U.filter((u) => u.emotion !== null);
  {
    const figure = add(lane("utterances", "Utterances", U.length + " stretches, cut by " + D.clip.cut_by + "; the table below lists them.", { height: 34, y_range: new B.Range1d({ start: 0, end: 1 }) }));
    const colour = U.map((u) => (u.emotion === null ? "rgba(128,128,128,0.25)" : R.colours[u.emotion]));
    R.draw(figure, new B.Quad({ left: { field: "a" }, right: { field: "b" }, bottom: { value: 0.06 }, top: { value: 0.94 }, fill_color: { field: "c" }, line_color: { value: "rgba(0,0,0,0.45)" } }), { a: U.map((u) => u.start), b: U.map((u) => u.end), c: colour });
    labels(figure, U.map((u) => ({ start: u.start, end: u.end, y: 0.5, colour: u.emotion === null ? () => R.css("--ink") : R.inkOn(u.emotion), texts: u.emotion === null ? ["no answer", "–"] : [u.emotion + " " + R.percent(u.probabilities[u.emotion]), u.emotion, u.emotion.slice(0, 3)] })), 12);
  }
  {
    const figure = add(lane("emotions", "Emotion probabilities", "Stacked, one column an utterance; the numbers are in the table below.", { height: 150, y_range: new B.Range1d({ start: 0, end: 1 }) }, legend(D.emotions.map((e) => [e, R.colours[e]]))));
    const axis = R.axis(figure, "left", { ticker: new B.FixedTicker({ ticks: [0, 0.25, 0.5, 0.75, 1] }) });
    R.grid(figure, axis, 1);
    const foot = answered.map(() => 0);
    for (const e of D.emotions) {
      const bottom = foot.slice(), top = answered.map((u, i) => (foot[i] += u.probabilities[e]));
      R.draw(figure, new B.Quad({ left: { field: "a" }, right: { field: "b" }, bottom: { field: "bottom" }, top: { field: "top" }, fill_color: { value: R.colours[e] }, line_color: { value: "rgba(0,0,0,0.35)" }, line_width: { value: 0.6 }, hatch_pattern: { value: R.hatches[e] }, hatch_color: { value: "#000000" }, hatch_alpha: { value: 0.28 }, hatch_scale: { value: 8 }, hatch_weight: { value: 0.8 } }), { a: answered.map((u) => u.start), b: answered.map((u) => u.end), bottom, top });
    }
  }
  const valued = U.filter((u) => u.sentiment !== null);
  if (valued.length) {
    const figure = add(lane("sentiment", "Sentiment", "From -3, most negative, to 3, most positive, one value an utterance.", { height: 76, y_range: new B.Range1d({ start: -3, end: 3 }) }));
    const axis = R.axis(figure, "left", { ticker: new B.FixedTicker({ ticks: [-3, 0, 3] }) });
    R.grid(figure, axis, 1);
    R.draw(figure, new B.Quad({ left: { field: "a" }, right: { field: "b" }, bottom: { field: "low" }, top: { field: "high" }, fill_color: { field: "c" }, line_color: { value: null } }), { a: valued.map((u) => u.start), b: valued.map((u) => u.end), low: valued.map((u) => Math.min(0, u.sentiment)), high: valued.map((u) => Math.max(0, u.sentiment)), c: valued.map((u) => (u.sentiment < 0 ? D.palette.negative : D.palette.positive)) });
  } else absent("Sentiment", "This model has no answer for sentiment.");

  // Attention: how many times its even part each word and frame got.
  const CURVES = ["--curve", "--curve-2", "--curve-3"];
  const named = (name) => (name === "overall" ? "overall" : name.startsWith("hop_") ? "hop " + name.slice(4) : "paid by " + name);
  const top = (lists) => { let most = 1.2; for (const list of lists) for (const x of list) if (x > most) most = x; return most * 1.06; };
  const W = D.words;
  if (W !== null && W.by.overall) {
    const most = top([W.by.overall]);
    const figure = add(lane("attention-text", "Attention on words", "Bars as high as the attention paid to each word, 1 being an even spread; the words themselves are listed beside the clip.", { height: 96, y_range: new B.Range1d({ start: 0, end: most * 1.25 }) }));
    const axis = R.axis(figure, "left", { ticker: new B.BasicTicker({ desired_num_ticks: 3 }) });
    R.grid(figure, axis, 1);
    const paid = W.by.overall.map((x) => (x === null ? 0 : x));
    R.draw(figure, new B.Quad({ left: { field: "a" }, right: { field: "b" }, bottom: { value: 0 }, top: { field: "t" }, fill_color: { value: R.css("--tint") }, fill_alpha: { value: 0.75 }, line_color: { value: R.css("--panel") } }), { a: W.start, b: W.end, t: paid }, ["fill_color=--tint", "line_color=--panel"]);
    const boxes = W.text.map((text, i) => ({ start: W.start[i] - 0.02, end: W.end[i] + 0.02, y: paid[i] + most * 0.11, colour: () => R.css("--ink"), texts: [text] }));
    labels(figure, boxes, 11);
  } else absent("Attention on words", W === null ? "No words here." : "The model paid no attention to words that could be shown.");
  for (const stream of ["face", "voice"]) {
    const found = D.attention[stream], title = "Attention on the " + stream;
    if (found === null) { absent(title, (D.reasons[stream] || D.streams[stream] && D.streams[stream].reason || "the model pays none to this stream").replace(/\.?$/, ".")); continue; }
    const names = Object.keys(found.by).filter((n, _, l) => n !== "overall" || l.length !== 2), time = R.floats(found.time), lists = names.map((n) => R.floats(found.by[n]));
    const figure = add(lane("attention-" + stream, title, "Curves over time, 1 being an even spread within an utterance: " + names.map(named).join(", ") + ".", { height: 84, y_range: new B.Range1d({ start: 0, end: top(lists) }) }, names.map((n, k) => R.el("span", { class: "chip" }, R.el("i", { class: "thin", style: { background: "var(" + CURVES[k % 3] + ")" } }), named(n)))));
    const axis = R.axis(figure, "left", { ticker: new B.BasicTicker({ desired_num_ticks: 3 }) });
    R.grid(figure, axis, 1);
    names.forEach((n, k) => R.draw(figure, new B.Line({ x: { field: "x" }, y: { field: "y" }, line_color: { value: R.css(CURVES[k % 3]) }, line_width: { value: n === "overall" ? 2 : 1.3 }, line_dash: { value: k < 3 ? [] : [4, 3] } }), { x: time, y: lists[k] }, ["line_color=" + CURVES[k % 3]]));
  }

  // Action units: a picture of what the face did.
  const palette = B.Palettes.Cividis256 || B.Palettes.cividis256;
  R.palette = (palette && palette.length ? palette : B.Palettes.Viridis256).map((c) => (typeof c === "number" ? "#" + (c >>> 8).toString(16).padStart(6, "0") : c));
  R.scale = (from, to) => R.el("span", { class: "scale" }, from, R.el("i", { style: { background: "linear-gradient(to right," + [0, 32, 64, 96, 128, 160, 192, 224, 255].map((i) => R.palette[i]).join(",") + ")" } }), to);
  const Floats = B.require("core/util/ndarray").Float32NDArray;
  R.image = (values, rows, columns) => new Floats(values, [rows, columns]);
  const units = D.units;
  if (units !== null) {
    const [n, m] = units.image.shape, raw = R.bytes(units.image), values = new Float32Array(n * m);
    for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) { const b = raw[(n - 1 - i) * m + j]; values[i * m + j] = b === 255 ? NaN : (b / 254) * units.most; }
    const figure = add(lane("units", "Action units", "A picture: " + units.columns.join(", ") + " from top to bottom, brighter is stronger; empty where no face was seen. streams/face.parquet holds the numbers.", { height: 14 * n + 8, y_range: new B.Range1d({ start: 0, end: n }) }, [R.scale("0", units.most.toFixed(1))]));
    const ticks = units.columns.map((_, i) => i + 0.5), names = new Map(units.columns.map((c, i) => [n - 1 - i + 0.5, c]));
    R.axis(figure, "left", { ticker: new B.FixedTicker({ ticks }), major_label_overrides: names, major_label_text_font_size: "10px" });
    R.draw(figure, new B.Image({ image: { field: "image" }, x: { value: units.start }, y: { value: 0 }, dw: { value: m * units.step }, dh: { value: n }, color_mapper: new B.LinearColorMapper({ palette: R.palette, low: 0, high: units.most, nan_color: "rgba(128,128,128,0.15)" }) }), { image: [R.image(values, n, m)] });
  } else absent("Action units", (D.reasons.face || D.streams.face && D.streams.face.reason || "no face stream").replace(/\.?$/, "."));

  const voice = D.voice;
  const curve = (name, title, note, height, time, list, colour) => {
    let low = Infinity, high = -Infinity;
    for (const x of list) { if (x < low) low = x; if (x > high) high = x; }
    if (!(low <= high)) { absent(title, "Nothing was measured."); return; }
    const pad = (high - low || 1) * 0.08, figure = add(lane(name, title, note, { height, y_range: new B.Range1d({ start: low - pad, end: high + pad }) }));
    const axis = R.axis(figure, "left", { ticker: new B.BasicTicker({ desired_num_ticks: 3 }) });
    R.grid(figure, axis, 1);
    R.draw(figure, new B.Line({ x: { field: "x" }, y: { field: "y" }, line_color: { value: R.css(colour) }, line_width: { value: 1.4 } }), { x: time, y: list }, ["line_color=" + colour]);
  };
  if (voice !== null) {
    const time = R.floats(voice.time);
    if (voice.pitch) curve("pitch", "Pitch, " + voice.pitch.unit, "A curve of " + voice.pitch.column + ", with gaps where there is no voice.", 84, time, R.floats(voice.pitch.values), "--curve");
    if (voice.energy) curve("energy", "Energy", "A curve of " + voice.energy.column + ".", 66, time, R.floats(voice.energy.values), "--curve-2");
  } else absent("Pitch and energy", (D.reasons.voice || "the voice stream has neither").replace(/\.?$/, "."));

  // Only the last lane says the seconds.
  const last = all[all.length - 1].figure;
  timeAxis(last);
  last.height += 40;
  const drawing = new B.Document();
  for (const { figure } of all) { paint(figure); drawing.add_root(figure); }
  const drawn = B.embed.add_document_standalone(drawing, lanes, all.map(({ plot }) => plot));

  // Where seconds lie in pixels: the same in every lane.
  const cursor = R.id("cursor"), ghost = R.id("ghost");
  const frame = () => {
    const box = view === null ? null : view.frame.bbox, plot = all[0].plot;
    return { left: plot.offsetLeft + (box ? box.left : LEFT), width: box ? box.width : plot.clientWidth - LEFT - RIGHT };
  };
  drawn.then((found) => { view = found.get(all[0].figure); R.drawn = found; refresh(); R.readyAt = performance.now(); R.ready = true; });
  R.secondsAt = (clientX) => {
    const { left, width } = frame();
    return range.start + ((clientX - lanes.getBoundingClientRect().left - left) / width) * (range.end - range.start);
  };
  const place = (t) => {
    const { left, width } = frame(), part = (t - range.start) / (range.end - range.start);
    cursor.hidden = part < 0 || part > 1;
    cursor.style.left = left + part * width + "px";
  };
  R.followers.push(place);
  let waiting = 0;
  const refresh = () => {
    place(R.now);
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => { const { width } = frame(); fitting.forEach((fit) => fit(width / (range.end - range.start))); });
  };
  R.look = (start, end) => {
    const width = Math.min(Math.max(end - start, 0.2), R.length), from = Math.min(Math.max(start, 0), R.length - width);
    range.setv({ start: from, end: from + width });
    refresh();
  };
  R.range = range;
  R.themed.push(refresh);
  new ResizeObserver(() => setTimeout(refresh, 60)).observe(lanes);

  const zoom = (factor, about) => { const w = (range.end - range.start) * factor, part = (about - range.start) / (range.end - range.start); R.look(about - part * w, about + (1 - part) * w); };
  const middle = () => (R.now >= range.start && R.now <= range.end ? R.now : (range.start + range.end) / 2);
  R.id("zoom-in").addEventListener("click", () => zoom(0.5, middle()));
  R.id("zoom-out").addEventListener("click", () => zoom(2, middle()));
  R.id("zoom-all").addEventListener("click", () => R.look(0, R.length));
  R.id("zoom-utterance").addEventListener("click", () => { const u = R.utteranceAt(R.now) || U[0]; if (u) R.look(u.start - 0.1, u.end + 0.1); });
  // The view follows a clip that plays out of it.
  R.followers.push((t) => { if (R.media && !R.media.paused && (t > range.end || t < range.start)) R.look(t, t + range.end - range.start); });

  let held = null;
  lanes.addEventListener("pointerdown", (e) => { if (e.button === 0) held = { x: e.clientX, start: range.start, end: range.end, moved: false }; });
  addEventListener("pointermove", (e) => {
    if (held === null) return;
    const moved = e.clientX - held.x;
    if (Math.abs(moved) > 4) held.moved = true;
    if (held.moved) { const shift = (moved / frame().width) * (held.end - held.start); R.look(held.start - shift, held.end - shift); }
  });
  addEventListener("pointercancel", () => { held = null; });
  addEventListener("pointerup", (e) => {
    if (held !== null && !held.moved) { const t = R.secondsAt(e.clientX); if (t >= range.start && t <= range.end) R.seek(t); }
    held = null;
  });
  lanes.addEventListener("pointermove", (e) => {
    const { left, width } = frame(), x = e.clientX - lanes.getBoundingClientRect().left;
    ghost.hidden = x < left || x > left + width;
    ghost.style.left = x + "px";
    ghost.classList.toggle("left", x > left + width - 70);
    ghost.firstElementChild.textContent = R.clock(R.secondsAt(e.clientX));
  });
  lanes.addEventListener("pointerleave", () => { ghost.hidden = true; });
  lanes.addEventListener("wheel", (e) => { if (e.ctrlKey) { e.preventDefault(); zoom(e.deltaY > 0 ? 1.25 : 0.8, R.secondsAt(e.clientX)); } }, { passive: false });
}
