"use strict";
// The lanes over time: one class for each kind of lane, drawn by Bokeh on one shared range of seconds.
{
  const B = Bokeh,
    D = R.data,
    CURVES = ["--curve", "--curve-2", "--curve-3"];
  const sentence = (text) => text.replace(/\.?$/, ".");
  const reasonFor = (stream, otherwise) =>
    sentence(D.reasons[stream] || (D.streams[stream] || {}).reason || otherwise);

  // A heading with its unit and legend, and a figure under it with the cursor of the clip's time. The figure is
  // described for those who do not see it.
  class Lane {
    constructor({ name, title, unit = "", note, chips = [], ...figure }) {
      this.cursor = R.el("div", { class: "cursor" });
      this.ghost = R.el("div", { class: "ghost" }, R.el("span"));
      this.plot = R.el("div", {
        class: "plot",
        role: "img",
        "aria-label": title + (unit ? ", " + unit : "") + ". " + note,
      });
      this.unit = R.el("span", { class: "unit" }, unit);
      this.stage = R.el("div", { class: "stage" }, this.plot, this.cursor, this.ghost);
      const heading = R.el("div", { class: "row" }, R.el("h3", {}, title), this.unit, ...chips);
      R.id("lanes").append(R.el("div", { class: "lane", id: "lane-" + name }, heading, this.stage));
      this.figure = R.figure({ x_range: R.range, ...figure });
      this.labels = null;
    }

    left(options) {
      const axis = R.axis(this.figure, "left", options);
      R.grid(this.figure, axis, 1);
      return axis;
    }

    fewTicks() {
      return this.left({ ticker: new B.BasicTicker({ desired_num_ticks: 3 }) });
    }

    boxes(options, data, tags = []) {
      const sides = { left: { field: "a" }, right: { field: "b" } };
      R.draw(this.figure, new B.Quad({ ...sides, ...options }), data, tags);
    }

    fit() {
      if (this.labels === null) return;
      const { width } = R.frame();
      this.labels.fit(R.range.start, R.range.end, width);
    }
  }

  class Absent {
    constructor(title, why) {
      const heading = R.el("div", { class: "row" }, R.el("h3", {}, title));
      R.id("lanes").append(R.el("div", { class: "lane" }, heading, R.el("p", { class: "absent" }, why)));
    }
  }

  class UtteranceLane extends Lane {
    constructor(found, { name = "utterances", title = "Utterances", how = "" } = {}) {
      const note = R.plural(found.length, "stretch", "stretches") + ", cut by " + D.clip.cut_by;
      super({
        name,
        title,
        unit: "most probable emotion" + how,
        note: note + "; the table below lists them.",
        height: 34,
        y_range: new B.Range1d({ start: 0, end: 1 }),
      });
      const c = found.map((one) => (one.emotion === null ? "rgba(128,128,128,0.25)" : R.colours[one.emotion]));
      const look = { bottom: { value: 0.06 }, top: { value: 0.94 }, fill_color: { field: "c" } };
      const data = { a: found.map((one) => one.start), b: found.map((one) => one.end), c };
      this.boxes({ ...look, line_color: { value: "rgba(0,0,0,0.45)" } }, data);
      const boxes = found.map((one) => ({
        start: one.start,
        end: one.end,
        y: 0.5,
        within: true,
        colour: one.emotion === null ? () => R.css("--ink") : R.inkOn(one.emotion),
        texts: one.emotion === null ? ["no answer", "–"] : [R.answer(one), one.emotion],
      }));
      this.labels = new R.Labels(this.figure, boxes, 12, [0.5]);
    }

    // One lane, or one for each speaker where several are told apart, and one for what nobody is known to say.
    static show() {
      if (D.speakers.length < 2) return [new UtteranceLane(D.utterances)];
      const lane = (speaker, options) => {
        const found = D.utterances.filter((one) => one.speaker === speaker);
        return found.length ? [new UtteranceLane(found, options)] : [];
      };
      const told = D.speakers.flatMap((one, k) => {
        const sure = one.confidence === null ? "" : ", confidence " + one.confidence.toFixed(2);
        const how = "; told by " + { lips: "lips", voice: "voice", words: "the words", file: "a file" }[one.by] + sure;
        return lane(one.name, { name: "speaker-" + k, title: "Speaker " + one.name, how });
      });
      return [...told, ...lane(null, { name: "speaker-none", title: "Speaker not known" })];
    }
  }

  class EmotionLane extends Lane {
    constructor() {
      super({
        name: "emotions",
        title: "Emotions",
        unit: "probability, 0 to 1",
        height: 150,
        y_range: new B.Range1d({ start: 0, end: 1 }),
        note: "Stacked, one column per utterance; the numbers are in the table below.",
        chips: R.legend(D.emotions.map((emotion) => [emotion, R.colours[emotion]])),
      });
      this.left({ ticker: new B.FixedTicker({ ticks: [0, 0.25, 0.5, 0.75, 1] }) });
      const answered = D.utterances.filter((one) => one.emotion !== null),
        foot = answered.map(() => 0);
      for (const emotion of D.emotions) {
        const bottom = foot.slice(),
          top = answered.map((one, i) => (foot[i] += one.probabilities[emotion]));
        const hatch = {
          hatch_pattern: { value: R.hatches[emotion] },
          hatch_color: { value: "#000000" },
          hatch_alpha: { value: 0.28 },
          hatch_scale: { value: 8 },
          hatch_weight: { value: 0.8 },
        };
        const line = { line_color: { value: "rgba(0,0,0,0.35)" }, line_width: { value: 0.6 } };
        const look = {
          bottom: { field: "bottom" },
          top: { field: "top" },
          fill_color: { value: R.colours[emotion] },
          ...line,
          ...hatch,
        };
        this.boxes(look, { a: answered.map((one) => one.start), b: answered.map((one) => one.end), bottom, top });
      }
    }
  }

  class SentimentLane extends Lane {
    constructor(valued) {
      super({
        name: "sentiment",
        title: "Sentiment",
        unit: "-3 negative to 3 positive",
        height: 76,
        note: "One value per utterance.",
        y_range: new B.Range1d({ start: -3, end: 3 }),
      });
      this.left({ ticker: new B.FixedTicker({ ticks: [-3, 0, 3] }) });
      const { negative, positive } = D.palette,
        data = {
          a: valued.map((one) => one.start),
          b: valued.map((one) => one.end),
          low: valued.map((one) => Math.min(0, one.sentiment)),
          high: valued.map((one) => Math.max(0, one.sentiment)),
          c: valued.map((one) => (one.sentiment < 0 ? negative : positive)),
        };
      const sides = { bottom: { field: "low" }, top: { field: "high" } };
      this.boxes({ ...sides, fill_color: { field: "c" }, line_color: { value: null } }, data);
    }

    static show() {
      const valued = D.utterances.filter((one) => one.sentiment !== null);
      if (valued.length) return new SentimentLane(valued);
      const answered = D.utterances.some((one) => one.emotion !== null);
      new Absent(
        "Sentiment",
        answered ? "This model has no answer for sentiment." : "No utterance of this clip has an answer.",
      );
      return null;
    }
  }

  // Words as bars, as high as the attention paid to each (or as its influence), with their texts above in three rows.
  class WordLane extends Lane {
    constructor({ name, title, unit, note, values, from, to, level, colours }) {
      const words = D.words,
        room = (to - from) * 0.55;
      super({
        name,
        title,
        unit,
        note,
        height: values === null ? 58 : 128,
        y_range: new B.Range1d({ start: from, end: to + room }),
      });
      const rows = [0.17, 0.5, 0.83].map((part) => to + room * part);
      if (values !== null) {
        const ticks = [...new Set([Number(from.toPrecision(2)), level, Number(to.toPrecision(2))])];
        this.left({ ticker: new B.FixedTicker({ ticks }) });
        R.level(this.figure, level);
        const measured = values.map((value) => (value === null ? 0 : value)),
          foot = from < 0 ? 0 : from;
        const data = {
          a: words.start,
          b: words.end,
          low: measured.map((value) => Math.min(foot, value)),
          high: measured.map((value) => Math.max(foot, value)),
          c: measured.map((value) => colours[value < 0 ? 1 : 0]),
        };
        for (const sign of [0, 1]) {
          const rowsOf = measured.map((value, i) => i).filter((i) => (measured[i] < 0 ? 1 : 0) === sign);
          const part = Object.fromEntries(
            Object.entries(data).map(([key, list]) => [key, rowsOf.map((i) => list[i])]),
          );
          const fill = {
            fill_color: { value: R.css(colours[sign]) },
            fill_alpha: { value: 0.8 },
            line_color: { value: R.css("--panel") },
          };
          const sides = { bottom: { field: "low" }, top: { field: "high" } };
          this.boxes({ ...sides, ...fill }, part, ["fill_color=" + colours[sign], "line_color=--panel"]);
        }
      }
      const boxes = words.text.map((text, i) => ({
        start: words.start[i],
        end: words.end[i],
        colour: () => R.css("--ink"),
        texts: [text],
      }));
      this.labels = new R.Labels(
        this.figure,
        boxes,
        11,
        values === null ? [from + 0.3, from + 0.8, to + 0.3] : rows,
      );
      this.plain = unit;
    }

    fit() {
      const left = this.labels.fit(R.range.start, R.range.end, R.frame().width);
      this.unit.textContent =
        this.plain + (left ? " · " + R.plural(left, "word") + " without room for a label: zoom in" : "");
    }

    static show() {
      const words = D.words;
      if (words === null) return new Absent("Words", reasonFor("words", "No words here"));
      if (!words.by.overall) {
        const why = D.words.uncertain ? "too uncertain to count as text" : "the model paid no attention to them";
        return new WordLane({
          name: "words",
          title: "Words",
          unit: why,
          note: "Their texts over time.",
          values: null,
          from: 0,
          to: 1,
        });
      }
      const values = words.by.overall,
        most = Math.max(1.2, ...values.map((value) => value || 0));
      return new WordLane({
        name: "attention-text",
        title: "Attention on words",
        unit: "times an even share (1 = even)",
        values,
        from: 0,
        to: most,
        level: 1,
        note: "Bars as high as the attention paid to each word; the words are listed beside the clip.",
        colours: ["--tint", "--tint"],
      });
    }

    static influence() {
      const values = D.words && D.words.influence;
      if (!values) return null;
      const most = Math.max(0.05, ...values.map((value) => Math.abs(value || 0)));
      return new WordLane({
        name: "influence-text",
        title: "Influence of words",
        unit: "log odds lost without the word (above 0: it speaks for the answer)",
        note: "Bars above 0 speak for the answer, below 0 against it.",
        values,
        from: -most,
        to: most,
        level: 0,
        colours: ["--for", "--against"],
      });
    }
  }

  // Curves over time on one axis that begins at 0, or reaches as far below it as the values do.
  class CurveLane extends Lane {
    constructor({ name, title, unit, note, height, time, curves, from, to, level = null }) {
      const chips =
        curves.length > 1
          ? curves.map((one, k) =>
              R.el(
                "span",
                { class: "chip" },
                R.el("i", { class: "thin", style: { background: "var(" + CURVES[k % 3] + ")" } }),
                one.title,
              ),
            )
          : [];
      super({ name, title, unit, note, height, chips, y_range: new B.Range1d({ start: from, end: to }) });
      this.fewTicks();
      if (level !== null) R.level(this.figure, level);
      curves.forEach((one, k) =>
        R.curve(this.figure, time, one.values, CURVES[k % 3], one.wide ? 2 : 1.3, k < 3 ? [] : [4, 3]),
      );
    }
  }

  const extremes = (lists) => {
    let low = Infinity,
      high = -Infinity;
    for (const list of lists)
      for (const value of list) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    return [low, high];
  };

  const attentionLane = (stream) => {
    const found = D.attention[stream],
      title = "Attention on the " + stream;
    if (found === null) return new Absent(title, reasonFor(stream, "the model pays none to this stream"));
    const named = (name) => {
      if (name === "overall") return "overall";
      return name.startsWith("hop_") ? "hop " + name.slice(4) : "paid by " + name;
    };
    const names = Object.keys(found.by).filter((name, _, all) => name !== "overall" || all.length !== 2);
    const curves = names.map((name) => ({
      title: named(name),
      values: R.floats(found.by[name]),
      wide: name === "overall",
    }));
    const [low, high] = extremes(curves.map((one) => one.values));
    const unit = "times an even share (1 = even), here " + low.toFixed(2) + " to " + high.toFixed(2);
    return new CurveLane({
      name: "attention-" + stream,
      title,
      unit,
      note: "Curves over time: " + curves.map((one) => one.title).join(", ") + ".",
      height: 84,
      time: R.floats(found.time),
      curves,
      from: 0,
      to: Math.max(high, 1.2) * 1.06,
      level: 1,
    });
  };

  const influenceLane = (stream) => {
    const found = D.influence && D.influence[stream];
    if (!found) return null;
    const values = R.floats(found.values),
      [low, high] = extremes([values]),
      most = Math.max(0.05, -low, high) * 1.08;
    return new CurveLane({
      name: "influence-" + stream,
      title: "Influence of the " + stream,
      height: 76,
      time: R.floats(found.time),
      level: 0,
      unit: "log odds lost without it (above 0: it speaks for the answer)",
      note: "A curve over time.",
      curves: [{ title: stream, values }],
      from: -most,
      to: most,
    });
  };

  // Action units: a picture of what the face did.
  class UnitLane extends Lane {
    constructor(units) {
      const [rows, columns] = units.image.shape,
        raw = R.bytes(units.image),
        values = new Float32Array(rows * columns);
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < columns; j++) {
          const byte = raw[(rows - 1 - i) * columns + j];
          values[i * columns + j] = byte === 255 ? NaN : (byte / 254) * units.most;
        }
      }
      super({
        name: "units",
        title: "Action units",
        unit: "activation" + (D.face && D.face.text ? "; " + D.face.text : ""),
        height: 14 * rows + 8,
        note:
          units.columns.join(", ") +
          " from top to bottom, brighter is stronger; empty where no face was seen. " +
          "streams/face.parquet holds the numbers.",
        y_range: new B.Range1d({ start: 0, end: rows }),
        chips: [R.scale(R.palette, "0", units.most.toFixed(1))],
      });
      const names = new Map(units.columns.map((column, i) => [rows - 1 - i + 0.5, column]));
      const ticker = new B.FixedTicker({ ticks: units.columns.map((_, i) => i + 0.5) });
      R.axis(this.figure, "left", { ticker, major_label_overrides: names, major_label_text_font_size: "10px" });
      const nan_color = "rgba(128,128,128,0.15)";
      const color_mapper = new B.LinearColorMapper({ palette: R.palette, low: 0, high: units.most, nan_color });
      const place = {
        x: { value: units.start },
        y: { value: 0 },
        dw: { value: columns * units.step },
        dh: { value: rows },
      };
      R.draw(this.figure, new B.Image({ image: { field: "image" }, ...place, color_mapper }), {
        image: [R.image(values, rows, columns)],
      });
    }
  }

  const voiceLanes = () => {
    const voice = D.voice;
    if (voice === null) return [new Absent("Pitch and energy", reasonFor("voice", "the voice stream has neither"))];
    const time = R.floats(voice.time);
    const lane = (name, title, unit, found, height, note) => {
      const values = R.floats(found.values),
        [low, high] = extremes([values]),
        margin = (high - low || 1) * 0.08;
      if (!(low <= high)) return new Absent(title, "Nothing was measured.");
      const curves = [{ title, values }];
      return new CurveLane({
        name,
        title,
        unit,
        note,
        height,
        time,
        curves,
        from: low - margin,
        to: high + margin,
      });
    };
    const found = [];
    const pitch = "gaps where there is no voice";
    if (voice.pitch)
      found.push(
        lane(
          "pitch",
          "Pitch",
          voice.pitch.unit + "; " + pitch,
          voice.pitch,
          84,
          "A curve of " + voice.pitch.column + ".",
        ),
      );
    if (voice.energy)
      found.push(
        lane("energy", "Energy", voice.energy.unit, voice.energy, 66, "A curve of " + voice.energy.column + "."),
      );
    return found;
  };

  R.range = new B.Range1d({ start: 0, end: R.length });
  const units = () =>
    D.units !== null ? new UnitLane(D.units) : new Absent("Action units", reasonFor("face", "no face stream"));
  const every = [
    ...UtteranceLane.show(),
    new EmotionLane(),
    SentimentLane.show(),
    WordLane.influence(),
    influenceLane("face"),
    influenceLane("voice"),
    WordLane.show(),
    attentionLane("face"),
    attentionLane("voice"),
    units(),
    ...voiceLanes(),
  ];
  R.lanes = every.filter((one) => one instanceof Lane);
}
