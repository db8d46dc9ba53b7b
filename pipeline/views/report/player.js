"use strict";
// The clip itself, the box of the face that was read, and the time slider.
class Player {
  constructor() {
    this.panel = R.id("player");
    this.video = R.data.video;
    this.asked = null; // where the reader wanted to go: the browser may come to lie a microsecond before it
    R.media = null;
    R.seek = (time) => this.seek(time);
    if (this.video.src === null) this.say(this.video.note);
    else this.build();
    this.slide();
  }

  say(text, ...more) {
    this.panel.append(R.el("p", { class: "notice" }, text, ...more));
  }

  build() {
    const { kind, note, poster, src } = this.video;
    const media = R.el(kind === "audio" ? "audio" : "video", {
      controls: true,
      preload: "auto",
      playsinline: true,
      poster,
      "aria-label": "The clip",
    });
    R.media = media;
    this.panel.append(R.el("div", { class: "screen" }, media));
    if (note) this.panel.append(R.el("p", { class: "hint" }, note));
    media.addEventListener("error", () => this.ask());
    this.open(src);
    const step = () => {
      this.heard();
      if (!media.paused) requestAnimationFrame(step);
    };
    media.addEventListener("play", () => {
      this.asked = null;
      step();
    });
    for (const event of ["seeked", "timeupdate", "pause"]) media.addEventListener(event, () => this.heard());
    if (kind === "video" && R.data.face && R.data.face.boxes) new FaceBox(media, R.data.face);
  }

  open(src) {
    R.media.src = src;
    if (R.now > 0) R.media.currentTime = R.now; // at 0 the poster stays until the reader does something
  }

  ask() {
    if (this.panel.querySelector(".notice")) return;
    const pick = R.el("input", { type: "file", accept: "video/*,audio/*", "aria-label": "The clip's file" });
    pick.addEventListener("change", () => this.open(URL.createObjectURL(pick.files[0])));
    const where = decodeURI(this.video.src);
    this.say(
      "The clip could not be opened at " +
        where +
        ": it was moved, or this browser does not play it. Choose it here: ",
      pick,
    );
  }

  seek(time) {
    this.asked = Math.min(Math.max(time, 0), R.length);
    if (R.media && R.media.readyState > 0) R.media.currentTime = this.asked;
    R.at(this.asked);
  }

  heard() {
    const time = R.media.currentTime;
    if (this.asked !== null && R.media.paused && Math.abs(time - this.asked) < 0.02) R.at(this.asked);
    else {
      this.asked = null;
      R.at(time);
    }
  }

  slide() {
    const slider = R.id("slider");
    slider.max = R.length;
    slider.addEventListener("input", () => R.seek(Number(slider.value)));
    R.followers.push((time) => {
      slider.value = time;
      slider.setAttribute("aria-valuetext", time.toFixed(2) + " seconds of " + R.length.toFixed(2));
      R.id("clock").textContent = R.clock(time) + " / " + R.clock(R.length);
    });
  }
}

// The read face's box over the clip: of the frame that is shown, nothing where no face was read.
class FaceBox {
  constructor(media, face) {
    this.media = media;
    this.start = R.floats(face.boxes.start);
    this.sides = face.boxes.sides.map((side) => R.floats(side));
    this.longest = face.boxes.longest;
    this.node = R.el("div", { class: "facebox", hidden: true, "aria-hidden": "true" }, R.el("span", {}, "read"));
    media.parentElement.append(this.node);
    const toggle = R.el("input", { type: "checkbox", checked: true, id: "show-face" });
    toggle.addEventListener("change", () => {
      this.off = !toggle.checked;
      this.place(R.now);
    });
    R.id("player").append(
      R.el("label", { class: "hint", for: "show-face" }, toggle, " box around the face that was read"),
    );
    R.followers.push((time) => this.place(time));
    media.addEventListener("loadedmetadata", () => this.place(R.now));
    new ResizeObserver(() => this.place(R.now)).observe(media);
  }

  place(time) {
    // Frames' starts are in single precision here: a hair of it must not show the box of the frame before.
    const row = R.before(this.start, time + 1e-4),
      { videoWidth, videoHeight, clientWidth, clientHeight } = this.media;
    const shown = row >= 0 && time < this.start[row] + this.longest && videoWidth > 0 && !this.off;
    this.node.hidden = !shown;
    if (!shown) return;
    const scale = Math.min(clientWidth / videoWidth, clientHeight / videoHeight);
    const width = videoWidth * scale,
      height = videoHeight * scale;
    const [x, y, w, h] = this.sides.map((side) => side[row]);
    this.node.style.left = (clientWidth - width) / 2 + x * width + "px";
    this.node.style.top = (clientHeight - height) / 2 + y * height + "px";
    this.node.style.width = w * width + "px";
    this.node.style.height = h * height + "px";
  }
}

// What holds now: the utterance's emotions as bars; between utterances, the clip's as a whole.
class Now {
  constructor() {
    this.head = R.el("div", { class: "head" });
    this.more = R.el("div", { class: "more" });
    const bars = R.el("div", { class: "bars" });
    this.rows = R.data.emotions.map((emotion) => {
      const fill = R.el("div", { style: { background: R.colours[emotion], width: "0" } }),
        value = R.el("div", { class: "value" });
      bars.append(R.el("div", {}, emotion), R.el("div", { class: "bar" }, fill), value);
      return { emotion, fill, value };
    });
    R.id("now").append(this.head, bars, this.more);
    R.followers.push((time) => this.show(R.utteranceNow(time)));
  }

  show(utterance) {
    if (utterance === this.shown) return;
    this.shown = utterance;
    const one = utterance || R.data.summary;
    this.head.textContent = (utterance ? "Utterance " + utterance.index + ": " : "Whole clip: ") + R.answer(one);
    for (const { emotion, fill, value } of this.rows) {
      const part = one.probabilities ? one.probabilities[emotion] : 0;
      fill.style.width = 100 * part + "%";
      value.textContent = one.probabilities ? R.percent(part) : "";
    }
    const parts = [];
    if (!utterance) parts.push("no utterance at this time");
    if (one.sentiment !== null) parts.push("sentiment " + one.sentiment.toFixed(2));
    if (utterance) parts.push(...utterance.flags.map(R.flagText));
    if (utterance && utterance.influence) parts.push(this.restsOn(utterance.influence));
    this.more.textContent = parts.join(" · ");
  }

  // How much the answer rests on each stream as a whole, in log odds.
  restsOn({ streams }) {
    const told = Object.entries(streams).sort(([, a], [, b]) => b - a);
    return "influence (log odds): " + told.map(([name, value]) => name + " " + value.toFixed(2)).join(", ");
  }
}

// Keys, unless something else wants them.
class Keys {
  constructor() {
    addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const taken = "input, select, button, summary, video, audio, [role=button]";
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest(taken)) return;
    const current = R.utteranceAt(R.now),
      index = current === null ? -1 : current.index;
    const to = (i) => {
      const utterance = R.data.utterances[i];
      if (utterance) R.seek(utterance.start);
    };
    if (event.key === " " && R.media) {
      if (R.media.paused) R.media.play();
      else R.media.pause();
    } else if (event.key === "ArrowLeft") R.seek(R.now - 1);
    else if (event.key === "ArrowRight") R.seek(R.now + 1);
    else if (event.key === "[") to(current && R.now > current.start + 0.3 ? index : index - 1);
    else if (event.key === "]") to(index + 1);
    else return;
    event.preventDefault();
  }
}

new Player();
new Now();
new Keys();
