"use strict";
// One range of seconds for all lanes: cursor, zoom, and what the pointer does.
class Timeline {
  constructor() {
    this.lanes = R.lanes;
    this.panel = R.id("lanes");
    this.view = null; // of the first lane
    this.held = null;
    R.frame = () => this.frame();
    R.look = (start, end) => this.look(start, end);
    this.averaged();
    this.embed();
    this.buttons();
    this.pointer();
    R.followers.push((time) => this.place(time));
    R.followers.push((time) => this.follow(time));
    R.themed.push(() => this.refresh());
    new ResizeObserver(() => setTimeout(() => this.refresh(), 60)).observe(this.panel);
  }

  averaged() {
    const seconds = R.data.averaged,
      line = R.id("averaged");
    if (seconds === null) return;
    line.textContent =
      "A long clip: each point of a curve is the mean of " +
      seconds.toFixed(2) +
      " s. Every row is in streams/ and attention.csv.";
    line.hidden = false;
  }

  // Only the last lane says the seconds.
  embed() {
    const last = this.lanes[this.lanes.length - 1].figure,
      drawing = new Bokeh.Document();
    const ticker = new Bokeh.BasicTicker({ desired_num_ticks: 8, mantissas: [1, 2, 5] });
    R.axis(last, "below", { ticker, axis_label: "seconds" });
    last.height += 40;
    for (const { figure } of this.lanes) {
      R.paint(figure);
      drawing.add_root(figure);
    }
    Bokeh.embed
      .add_document_standalone(
        drawing,
        this.panel,
        this.lanes.map(({ plot }) => plot),
      )
      .then((views) => {
        this.view = views.get(this.lanes[0].figure);
        R.drawn = views;
        this.refresh();
        R.readyAt = performance.now();
        R.ready = true;
      });
  }

  // Where seconds lie in pixels, from the left edge of a lane: the same in every lane.
  frame() {
    const box = this.view === null ? null : this.view.frame.bbox,
      { clientWidth } = this.lanes[0].stage;
    return box ? { left: box.left, width: box.width } : { left: R.LEFT, width: clientWidth - R.LEFT - R.RIGHT };
  }

  x(event) {
    return event.clientX - this.lanes[0].stage.getBoundingClientRect().left;
  }

  secondsAt(event) {
    const { left, width } = this.frame(),
      { start, end } = R.range;
    return start + ((this.x(event) - left) / width) * (end - start);
  }

  place(time) {
    const { left, width } = this.frame(),
      part = (time - R.range.start) / (R.range.end - R.range.start);
    for (const { cursor } of this.lanes) {
      cursor.hidden = part < 0 || part > 1;
      cursor.style.left = left + part * width + "px";
    }
  }

  refresh() {
    this.place(R.now);
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(() => this.lanes.forEach((lane) => lane.fit()));
  }

  look(start, end) {
    const width = Math.min(Math.max(end - start, 0.2), R.length),
      from = Math.min(Math.max(start, 0), R.length - width);
    R.range.setv({ start: from, end: from + width });
    this.refresh();
  }

  zoom(factor, about) {
    const { start, end } = R.range,
      width = (end - start) * factor,
      part = (about - start) / (end - start);
    this.look(about - part * width, about + (1 - part) * width);
  }

  // The view follows a clip that plays out of it.
  follow(time) {
    const { start, end } = R.range;
    if (R.media && !R.media.paused && (time > end || time < start)) this.look(time, time + end - start);
  }

  buttons() {
    const middle = () =>
      R.now >= R.range.start && R.now <= R.range.end ? R.now : (R.range.start + R.range.end) / 2;
    R.id("zoom-in").addEventListener("click", () => this.zoom(0.5, middle()));
    R.id("zoom-out").addEventListener("click", () => this.zoom(2, middle()));
    R.id("zoom-all").addEventListener("click", () => this.look(0, R.length));
    R.id("zoom-utterance").addEventListener("click", () => {
      const utterance = R.utteranceAt(R.now) || R.data.utterances[0];
      if (utterance) this.look(utterance.start - 0.1, utterance.end + 0.1);
    });
  }

  pointer() {
    const stage = (event) => (event.target.closest ? event.target.closest(".stage") : null);
    this.panel.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && stage(event))
        this.held = { x: event.clientX, start: R.range.start, end: R.range.end, moved: false };
    });
    addEventListener("pointermove", (event) => this.drag(event));
    addEventListener("pointercancel", () => {
      this.held = null;
    });
    addEventListener("pointerup", (event) => this.release(event));
    this.panel.addEventListener("pointermove", (event) => this.hover(event, stage(event)));
    this.panel.addEventListener("pointerleave", () => this.hover(null, null));
    this.panel.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.secondsAt(event));
      },
      { passive: false },
    );
  }

  drag(event) {
    if (this.held === null) return;
    const moved = event.clientX - this.held.x,
      { start, end } = this.held;
    if (Math.abs(moved) > 4) this.held.moved = true;
    const shift = (moved / this.frame().width) * (end - start);
    if (this.held.moved) this.look(start - shift, end - shift);
  }

  release(event) {
    if (this.held !== null && !this.held.moved) {
      const time = this.secondsAt(event);
      if (time >= R.range.start && time <= R.range.end) R.seek(time);
    }
    this.held = null;
  }

  hover(event, stage) {
    const { left, width } = this.frame(),
      x = event === null ? -1 : this.x(event);
    for (const lane of this.lanes) {
      lane.ghost.hidden = stage === null || x < left || x > left + width;
      if (lane.ghost.hidden) continue;
      lane.ghost.style.left = x + "px";
      lane.ghost.classList.toggle("left", x > left + width - 70);
      lane.ghost.firstElementChild.textContent = lane.stage === stage ? R.clock(this.secondsAt(event)) : "";
    }
  }
}

new Timeline();
