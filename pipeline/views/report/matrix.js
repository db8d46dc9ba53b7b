"use strict";
// Attention maps of one utterance: a matrix for one layer and head, or a curve for each hop.
{
  const B = Bokeh,
    D = R.data;

  // One side of a map: the rows' spans, and their words where they are words.
  class Side {
    constructor(side) {
      this.start = R.floats(side.start);
      this.end = R.floats(side.end);
      this.labels = side.labels || null;
      this.stream = side.stream;
    }

    text(i) {
      const name = this.labels && this.labels[i] ? "“" + this.labels[i] + "”" : this.stream;
      return name + " " + this.start[i].toFixed(2) + "–" + this.end[i].toFixed(2) + " s";
    }

    // Each row's even share: equal for words; frames that were taken together count as long as they last.
    even() {
      const lasts = Array.from(this.start, (start, i) => (this.labels ? 1 : this.end[i] - start));
      const all = lasts.reduce((sum, one) => sum + one, 0);
      return lasts.map((one) => (all > 0 ? one / all : 1 / lasts.length));
    }

    // Places and texts of an axis' ticks: every word, or about ten times.
    ticks() {
      const count = this.start.length,
        every = this.labels ? 1 : Math.max(1, Math.ceil(count / 10)),
        names = new Map();
      for (let i = 0; i < count; i += every)
        names.set(i + 0.5, this.labels ? this.labels[i] : this.start[i].toFixed(2));
      return names;
    }
  }

  // How a map's cells lie to an even spread: each row's weights over its sum, over the column's even share. 1 is even.
  class Spread {
    constructor(weights, rows, columns, even) {
      Object.assign(this, {
        rows,
        columns,
        ratio: new Float32Array(rows * columns),
        low: Infinity,
        high: 0,
        distance: 0,
      });
      let counted = 0;
      for (let i = 0; i < rows; i++) {
        let sum = 0,
          moved = 0;
        for (let j = 0; j < columns; j++) sum += weights[i * columns + j];
        for (let j = 0; j < columns; j++) {
          const share = sum > 0 ? weights[i * columns + j] / sum : NaN;
          this.ratio[i * columns + j] = share / even[j];
          if (sum > 0) moved += Math.abs(share - even[j]) / 2;
        }
        if (sum > 0) {
          this.distance += moved;
          counted += 1;
        }
      }
      this.distance /= counted || 1;
      for (const value of this.ratio) {
        if (value < this.low) this.low = value;
        if (value > this.high) this.high = value;
      }
      // The scale ends where the map does, as far below even as above; eight times is its limit.
      this.limit = Math.min(8, Math.max(1.05, this.high, this.low > 0 ? 1 / this.low : 8));
    }

    // The cells that stand out most, none twice.
    strongest(count) {
      const order = Array.from(this.ratio.keys()).filter((at) => this.ratio[at] > 1.02);
      return order.sort((a, b) => this.ratio[b] - this.ratio[a]).slice(0, count);
    }
  }

  class Maps {
    constructor(utterances) {
      this.panel = R.id("map");
      this.cell = R.id("cell");
      this.strongest = R.id("strongest");
      this.decoded = new Map();
      this.shown = [];
      this.utterance = this.choice("utterance", "map-utterance");
      this.which = this.choice("who looks at what", "map-pair");
      this.layer = this.choice("layer", "map-layer");
      this.head = this.choice("head", "map-head");
      this.legend = R.el("span", {});
      R.id("choices").append(this.legend);
      for (const one of utterances) this.utterance.append(R.el("option", { value: one.index }, this.titleOf(one)));
      this.utterance.addEventListener("change", () => {
        this.current = Number(this.utterance.value);
        this.offer();
      });
      this.which.addEventListener("change", () => this.offerLayers());
      for (const select of [this.layer, this.head]) select.addEventListener("change", () => this.draw());
      R.followers.push((time) => this.follow(time));
      this.current = utterances[0].index;
      this.offer();
    }

    choice(label, id) {
      const select = R.el("select", { id });
      R.id("choices").append(R.el("label", { for: id }, label + " ", select));
      return select;
    }

    titleOf(one) {
      const text = one.text.length > 42 ? one.text.slice(0, 40) + "…" : one.text;
      return one.index + " · " + R.clock(one.start, 1) + " · " + (text || "no words");
    }

    // The map follows the clip to another utterance.
    follow(time) {
      const found = R.utteranceAt(time);
      if (found === null || found.index === this.current || !D.maps[found.index]) return;
      this.current = found.index;
      this.utterance.value = found.index;
      this.offer();
    }

    maps() {
      return D.maps[this.utterance.value];
    }

    title(map) {
      const { kind, target, source } = map;
      const pair =
        target.stream === "utterance" ? "hops over each stream" : target.stream + " looks at " + source.stream;
      return pair + { cross: "", self: " (within itself)", memory: " (in the readout)" }[kind];
    }

    fill(select, entries, kept) {
      select.replaceChildren(...entries.map(([value, text]) => R.el("option", { value }, text)));
      if (entries.some(([value]) => String(value) === kept)) select.value = kept;
    }

    offer() {
      const counts = {},
        entries = [];
      this.maps().forEach((map, i) => {
        const name = this.title(map);
        counts[name] = (counts[name] || 0) + 1;
        if (map.target.stream === "utterance" && counts[name] > 1) return; // one entry for all hops
        entries.push([i, name + (counts[name] > 1 ? ", map " + counts[name] : "")]);
      });
      this.fill(this.which, entries, this.which.value);
      this.offerLayers();
    }

    offerLayers() {
      const [layers, heads] = this.maps()[this.which.value].root.shape,
        numbers = (count) => Array.from({ length: count }, (_, i) => i);
      const last = (i) => (i === layers - 1 ? " (last)" : "");
      this.fill(
        this.layer,
        numbers(layers).map((i) => [i, i + 1 + last(i)]),
        this.layer.value || String(layers - 1),
      );
      this.fill(
        this.head,
        [["mean", "mean of " + heads], ...numbers(heads).map((i) => [i, String(i + 1)])],
        this.head.value,
      );
      this.draw();
    }

    draw() {
      this.panel.replaceChildren();
      R.figures = R.figures.filter((figure) => !this.shown.includes(figure));
      this.shown = [];
      this.cell.textContent = "";
      const map = this.maps()[this.which.value],
        hops = map.target.stream === "utterance";
      for (const select of [this.layer, this.head]) select.parentElement.hidden = hops;
      this.legend.hidden = hops;
      if (hops) this.drawHops();
      else this.drawMatrix(map);
    }

    show(figure, plot) {
      this.shown.push(figure);
      return R.show(figure, plot);
    }

    // (layer head target source) weights: a byte holds the root of a weight over the largest of its layer and head.
    weights(map) {
      if (this.decoded.has(map)) return this.decoded.get(map);
      const [, heads, rows, columns] = map.root.shape,
        raw = R.bytes(map.root),
        values = new Float32Array(raw.length);
      for (let i = 0; i < raw.length; i++) {
        const matrix = Math.floor(i / (rows * columns)),
          root = raw[i] / 255;
        values[i] = root * root * map.most[Math.floor(matrix / heads)][matrix % heads];
      }
      this.decoded.set(map, values);
      return values;
    }

    // (target source) weights of the chosen layer and head, or of the heads' mean.
    chosen(map) {
      const [, heads, rows, columns] = map.root.shape,
        all = this.weights(map),
        values = new Float32Array(rows * columns);
      const wanted =
        this.head.value === "mean" ? Array.from({ length: heads }, (_, i) => i) : [Number(this.head.value)];
      for (const head of wanted) {
        const first = (Number(this.layer.value) * heads + head) * rows * columns;
        for (let i = 0; i < values.length; i++) values[i] += all[first + i] / wanted.length;
      }
      return values;
    }

    drawMatrix(map) {
      const [, , rows, columns] = map.root.shape,
        values = this.chosen(map),
        source = new Side(map.source);
      const spread = new Spread(values, rows, columns, source.even());
      const target = new Side(map.target);
      const label = "Attention matrix: " + this.title(map) + ". The cells that stand out are named below it.";
      const plot = R.el("div", { role: "img", "aria-label": label });
      this.panel.append(plot);
      const figure = this.matrixFigure(target, source, rows, columns),
        pixels = new Float32Array(rows * columns);
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < columns; j++) {
          const value = spread.ratio[i * columns + j],
            low = 1 / spread.limit;
          pixels[(rows - 1 - i) * columns + j] = Math.log2(Math.min(Math.max(value, low), spread.limit));
        }
      }
      const most = Math.log2(spread.limit),
        nan_color = "rgba(128,128,128,0.3)";
      const color_mapper = new B.LinearColorMapper({ palette: R.diverging, low: -most, high: most, nan_color });
      const place = { x: { value: 0 }, y: { value: 0 }, dw: { value: columns }, dh: { value: rows } };
      R.draw(figure, new B.Image({ image: { field: "image" }, ...place, color_mapper }), {
        image: [R.image(pixels, rows, columns)],
      });
      const limit = spread.limit.toFixed(2);
      this.legend.replaceChildren(
        R.scale(R.diverging, "1/" + limit, "grey: an even share", limit + " times an even share"),
      );
      R.matrix = { values, rows, columns, spread };
      this.react(plot, this.show(figure, plot), { target, source, values, spread });
      this.describe(target, source, spread);
    }

    matrixFigure(target, source, rows, columns) {
      const longest = target.labels ? Math.max(...target.labels.map((text) => text.length)) : 5;
      const figure = R.figure({
        height: Math.min(560, Math.max(120, rows * (target.labels ? 17 : 4))) + (source.labels ? 70 : 44),
        x_range: new B.Range1d({ start: 0, end: columns }),
        y_range: new B.Range1d({ start: 0, end: rows }),
        min_border_left: Math.min(170, Math.max(64, 7 * longest + 16)),
      });
      const below = source.ticks(),
        left = new Map([...target.ticks()].map(([at, name]) => [rows - at, name]));
      const seconds = (side) => side.stream + (side.labels ? "" : ", seconds");
      R.axis(figure, "below", {
        ticker: new B.FixedTicker({ ticks: [...below.keys()] }),
        major_label_overrides: below,
        major_label_orientation: source.labels ? 0.9 : "horizontal",
        axis_label: seconds(source) + " (looked at)",
      });
      R.axis(figure, "left", {
        ticker: new B.FixedTicker({ ticks: [...left.keys()] }),
        major_label_overrides: left,
        axis_label: target.labels ? null : seconds(target),
      });
      return figure;
    }

    // The cell under the pointer is told; a click plays what it looks at.
    react(plot, drawing, { target, source, values, spread }) {
      const { rows, columns } = spread;
      const where = async (event) => {
        const box = (await drawing).frame.bbox,
          area = plot.getBoundingClientRect();
        const j = Math.floor(((event.clientX - area.left - box.left) / box.width) * columns);
        const i = Math.floor(((event.clientY - area.top - box.top) / box.height) * rows);
        return i >= 0 && i < rows && j >= 0 && j < columns ? [i, j] : null;
      };
      plot.addEventListener("pointermove", async (event) => {
        const at = await where(event);
        if (!at) return;
        const cell = at[0] * columns + at[1],
          share = values[cell].toPrecision(3) + ", " + spread.ratio[cell].toFixed(2);
        this.cell.textContent =
          target.text(at[0]) + " looks at " + source.text(at[1]) + ": " + share + " times an even share";
      });
      plot.addEventListener("click", async (event) => {
        const at = await where(event);
        if (at) R.seek(source.start[at[1]]);
      });
    }

    describe(target, source, spread) {
      const { columns } = spread,
        best = spread.strongest(5);
      const far =
        "This map is " +
        (100 * spread.distance).toFixed(1) +
        " % away from an even spread " +
        "(0 %: every column gets the same; 100 %: all of it lies on one). ";
      const cell = (at) => target.text(Math.floor(at / columns)) + " → " + source.text(at % columns);
      const named = best.map((at) => cell(at) + " (" + spread.ratio[at].toFixed(2) + ")").join("; ");
      const range = spread.low.toFixed(2) + " and " + spread.high.toFixed(2) + " times an even share.";
      this.strongest.textContent =
        far +
        (best.length ? "Most above an even share: " + named + "." : "No cell stands out: all lie between " + range);
    }

    drawHops() {
      const colours = ["--curve", "--curve-2", "--curve-3"],
        found = [];
      for (const map of this.maps().filter((one) => one.target.stream === "utterance")) {
        const source = new Side(map.source),
          lists = this.hops(map),
          name = (l) => "hop " + (l + 1);
        const chips = lists.map((_, l) =>
          R.el(
            "span",
            { class: "chip" },
            R.el("i", { class: "thin", style: { background: "var(" + colours[l % 3] + ")" } }),
            name(l),
          ),
        );
        const title = R.el("h3", {}, "Looks at the " + source.stream),
          unit = R.el("span", { class: "unit" }, "times an even share");
        const plot = R.el("div", {
          role: "img",
          "aria-label": "Each hop's look over the " + source.stream + " in time.",
        });
        this.panel.append(
          R.el("div", { class: "lane" }, R.el("div", { class: "row" }, title, unit, ...chips), plot),
        );
        this.hopFigure(source, lists, plot, colours);
        lists.forEach((list, l) => {
          const best = list.indexOf(Math.max(...list));
          found.push(
            name(l) +
              " looks most at " +
              source.text(best) +
              " (" +
              list[best].toFixed(2) +
              " times an even share)",
          );
        });
      }
      this.strongest.textContent = found.join("; ") + ".";
    }

    // Each layer's look over the source's rows, as a multiple of an even share: the mean of its heads.
    hops(map) {
      const [layers, heads, , columns] = map.root.shape,
        all = this.weights(map),
        lists = [];
      for (let layer = 0; layer < layers; layer++) {
        lists.push(
          Float32Array.from({ length: columns }, (_, j) => {
            let sum = 0;
            for (let head = 0; head < heads; head++) sum += all[(layer * heads + head) * columns + j];
            return (sum / heads) * columns;
          }),
        );
      }
      return lists;
    }

    hopFigure(source, lists, plot, colours) {
      const { start, end } = D.utterances[this.utterance.value],
        most = Math.max(1.2, ...lists.map((list) => Math.max(...list)));
      const middle = Float32Array.from(source.start, (first, j) => (first + source.end[j]) / 2);
      const y_range = new B.Range1d({ start: 0, end: most * 1.08 });
      const figure = R.figure({ height: 130, x_range: new B.Range1d({ start, end }), y_range });
      R.axis(figure, "below", {});
      R.grid(figure, R.axis(figure, "left", { ticker: new B.BasicTicker({ desired_num_ticks: 4 }) }), 1);
      R.level(figure, 1);
      lists.forEach((list, l) => R.curve(figure, middle, list, colours[l % 3], 1.8, [[], [6, 3], [2, 2]][l % 3]));
      const drawing = this.show(figure, plot);
      plot.addEventListener("click", async (event) => {
        const box = (await drawing).frame.bbox,
          part = (event.clientX - plot.getBoundingClientRect().left - box.left) / box.width;
        if (part >= 0 && part <= 1) R.seek(start + part * (end - start));
      });
    }
  }

  const withMaps = D.utterances.filter((one) => (D.maps[one.index] || []).length);
  if (withMaps.length) new Maps(withMaps);
  else
    R.id("map").append(
      R.el("p", { class: "absent" }, "There are no attention maps: the model has none, or none were kept."),
    );
}
