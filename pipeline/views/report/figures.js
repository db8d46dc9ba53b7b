"use strict";
// Bokeh figures in the page's colours, and what is drawn in them.
{
  const B = Bokeh;
  Bokeh.set_log_level("error");
  R.LEFT = 64; // pixels that every figure leaves beside its frame, so that seconds lie one below the other
  R.RIGHT = 14;
  R.figures = [];

  R.figure = ({ x_range, y_range, ...rest }) => {
    const figure = new B.Figure({
      x_range,
      y_range,
      sizing_mode: "stretch_width",
      toolbar_location: null,
      min_border_left: R.LEFT,
      min_border_right: R.RIGHT,
      min_border_top: 6,
      min_border_bottom: 6,
      output_backend: "canvas",
      background_fill_color: null,
      border_fill_color: null,
      ...rest,
    });
    R.figures.push(figure);
    return figure;
  };

  // A glyph's tags say which of its colours follow the theme: "fill_color=--tint".
  R.paint = (figure) => {
    const muted = R.css("--muted"),
      line = R.css("--line");
    figure.outline_line_color = line;
    for (const axis of [...figure.left, ...figure.below, ...figure.above]) {
      if (axis.major_label_text_color === undefined) continue;
      axis.major_label_text_color = axis.axis_label_text_color = muted;
      axis.axis_line_color = axis.major_tick_line_color = line;
    }
    for (const grid of figure.center) if (grid instanceof B.Grid) grid.grid_line_color = line;
    for (const renderer of figure.renderers) {
      for (const tag of renderer.glyph ? renderer.tags : []) {
        const [property, name] = tag.split("=");
        renderer.glyph[property] = { value: R.css(name) };
      }
    }
  };
  R.themed.push(() => R.figures.forEach(R.paint));

  R.axis = (figure, side, options) => {
    const axis = new B.LinearAxis({
      axis_line_width: 1,
      minor_tick_line_color: null,
      major_label_text_font_size: "11px",
      major_tick_in: 0,
      major_tick_out: 3,
      axis_label_text_font_size: "11px",
      axis_label_text_font_style: "normal",
      axis_label_standoff: 2,
      ...options,
    });
    figure.add_layout(axis, side);
    return axis;
  };
  R.grid = (figure, axis, dimension) => figure.add_layout(new B.Grid({ axis, dimension, grid_line_alpha: 0.5 }));
  R.draw = (figure, glyph, data, tags = []) => {
    const source = new B.ColumnDataSource({ data });
    figure.renderers = [...figure.renderers, new B.GlyphRenderer({ data_source: source, glyph, tags })];
    return source;
  };
  R.curve = (figure, x, y, colour, width = 1.4, dash = []) => {
    const line = { line_color: { value: R.css(colour) }, line_width: { value: width }, line_dash: { value: dash } };
    R.draw(figure, new B.Line({ x: { field: "x" }, y: { field: "y" }, ...line }), { x, y }, [
      "line_color=" + colour,
    ]);
  };
  R.level = (figure, at) => {
    // a dotted line across
    const span = new B.Span({
      location: at,
      dimension: "width",
      line_color: "#888888",
      line_dash: [2, 3],
      line_width: 1,
    });
    figure.add_layout(span, "center");
  };
  R.show = (figure, target) => {
    R.paint(figure);
    return B.Plotting.show(figure, target);
  };

  // Scales: cividis for amounts; blue, grey, orange for what lies below and above an even share.
  const cividis = B.Palettes.Cividis256 || B.Palettes.cividis256 || B.Palettes.Viridis256;
  const hex = (colour) =>
    typeof colour === "number" ? "#" + (colour >>> 8).toString(16).padStart(6, "0") : colour;
  R.palette = cividis.map(hex);
  const mix = (from, to, part) => {
    const channel = (i) =>
      Math.round(from[i] + (to[i] - from[i]) * part)
        .toString(16)
        .padStart(2, "0");
    return "#" + channel(0) + channel(1) + channel(2);
  };
  const LESS = [33, 82, 158],
    EVEN = [236, 236, 236],
    MORE = [176, 72, 0];
  R.diverging = Array.from({ length: 257 }, (_, i) =>
    i < 128 ? mix(LESS, EVEN, i / 128) : mix(EVEN, MORE, (i - 128) / 128),
  );
  R.scale = (palette, ...texts) => {
    const stops = Array.from({ length: 9 }, (_, i) => palette[Math.round((i / 8) * (palette.length - 1))]);
    const bar = R.el("i", { style: { background: "linear-gradient(to right," + stops.join(",") + ")" } });
    const middle = texts.length === 3 ? [texts[1]] : [];
    return R.el(
      "span",
      { class: "scale" },
      texts[0],
      bar,
      texts[texts.length - 1],
      ...middle.map((text) => " (" + text + ")"),
    );
  };
  const Floats = B.require("core/util/ndarray").Float32NDArray;
  R.image = (values, rows, columns) => new Floats(values, [rows, columns]);
  R.legend = (entries) =>
    entries.map(([text, colour, thin]) =>
      R.el(
        "span",
        { class: "chip" },
        R.el("i", { class: thin ? "thin" : "", style: { background: colour } }),
        text,
      ),
    );

  // Texts along a figure, each at its middle, in the first of `rows` heights where it touches no other; those that fit
  // nowhere wait until the reader zooms in.
  const ruler = document.createElement("canvas").getContext("2d");
  R.Labels = class {
    constructor(figure, boxes, size, rows) {
      Object.assign(this, { boxes, size, rows });
      const text = {
        text_font_size: { value: size + "px" },
        text_align: { value: "center" },
        text_baseline: { value: "middle" },
      };
      const fields = {
        x: { field: "x" },
        y: { field: "y" },
        text: { field: "text" },
        text_color: { field: "colour" },
      };
      this.source = R.draw(figure, new B.Text({ ...fields, ...text }), { x: [], y: [], text: [], colour: [] });
      ruler.font = size + "px sans-serif";
      this.widths = boxes.map((box) => box.texts.map((one) => ruler.measureText(one).width + 6));
    }

    // Places for a range of seconds that is so many pixels wide; how many of the boxes in it have none.
    fit(start, end, pixels) {
      const data = { x: [], y: [], text: [], colour: [] },
        scale = pixels / (end - start),
        taken = this.rows.map(() => -Infinity);
      let left = 0;
      this.boxes.forEach((box, i) => {
        if (box.end < start || box.start > end) return;
        const middle = ((box.start + box.end) / 2 - start) * scale,
          room = (box.end - box.start) * scale;
        for (let choice = 0; choice < box.texts.length; choice++) {
          const width = this.widths[i][choice],
            from = Math.min(Math.max(middle - width / 2, 0), pixels - width);
          const row = box.within ? (width <= room ? 0 : -1) : taken.findIndex((edge) => edge <= from);
          if (row < 0) continue;
          taken[row] = from + width;
          data.x.push(start + (from + width / 2) / scale);
          data.y.push(box.y === undefined ? this.rows[row] : box.y);
          data.text.push(box.texts[choice]);
          data.colour.push(typeof box.colour === "function" ? box.colour() : box.colour);
          return;
        }
        left += 1;
      });
      this.source.data = data;
      return left;
    }
  };
}
