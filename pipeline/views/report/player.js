"use strict";
// The clip itself, the time slider, the words, and what holds now.
{
  const D = R.data, video = D.video, player = R.id("player"), slider = R.id("slider");
  R.media = null;
  const say = (text, ...more) => player.append(R.el("p", { class: "notice" }, text, ...more));

  const open = (src) => {
    R.media.src = src;
    R.media.currentTime = R.now;
  };
  if (video.src === null) {
    say(video.note);
  } else {
    const tag = video.kind === "audio" ? "audio" : "video";
    R.media = R.el(tag, { controls: true, preload: "auto", playsinline: true, "aria-label": "The clip" });
    player.append(R.media);
    if (video.note) player.append(R.el("p", { class: "hint" }, video.note));
    R.media.addEventListener("error", () => {
      if (player.querySelector(".notice")) return;
      const pick = R.el("input", { type: "file", accept: "video/*,audio/*", "aria-label": "The clip's file", on: { change: () => open(URL.createObjectURL(pick.files[0])) } });
      say("The clip could not be opened at " + decodeURI(video.src) + ": it was moved, or this browser does not play it. Choose it here: ", pick);
    });
    open(video.src);
    const step = () => { R.at(R.media.currentTime); if (!R.media.paused) requestAnimationFrame(step); };
    R.media.addEventListener("play", step);
    for (const event of ["seeked", "timeupdate", "pause"]) R.media.addEventListener(event, () => R.at(R.media.currentTime));
  }
  R.seek = (t) => {
    const time = Math.min(Math.max(t, 0), R.length);
    if (R.media && R.media.readyState > 0) R.media.currentTime = time;
    R.at(time);
  };

  slider.max = R.length;
  slider.addEventListener("input", () => R.seek(Number(slider.value)));
  R.followers.push((t) => {
    slider.value = t;
    slider.setAttribute("aria-valuetext", t.toFixed(2) + " seconds of " + R.length.toFixed(2));
    R.id("clock").textContent = R.clock(t) + " / " + R.clock(R.length);
  });

  // What holds now: the utterance's emotions as bars.
  const head = R.el("div", { class: "head" }), bars = R.el("div", { class: "bars" }), more = R.el("div", { class: "more" });
  R.id("now").append(head, bars, more);
  const rows = D.emotions.map((emotion) => {
    const fill = R.el("div", { style: { background: R.colours[emotion], width: "0" } }), value = R.el("div", { class: "value" });
    bars.append(R.el("div", {}, emotion), R.el("div", { class: "bar" }, fill), value);
    return { emotion, fill, value };
  });
  let shown;
  R.followers.push((t) => {
    const found = R.utteranceAt(t), u = R.inside(found, t) ? found : null;
    if (u === shown) return;
    shown = u;
    head.textContent = u === null ? "Between utterances" : u.emotion === null ? "No answer here" : "Now: " + u.emotion + " " + R.percent(u.probabilities[u.emotion]);
    for (const { emotion, fill, value } of rows) {
      const p = u && u.probabilities ? u.probabilities[emotion] : 0;
      fill.style.width = 100 * p + "%";
      value.textContent = u && u.probabilities ? R.percent(p) : "";
    }
    const parts = [];
    if (u && u.sentiment !== null) parts.push("sentiment " + u.sentiment.toFixed(2));
    if (u && u.flags.length) parts.push(u.flags.map((f) => f.replaceAll("_", " ")).join(", "));
    more.textContent = parts.join(" · ");
  });

  // The words, tinted by the attention paid to them.
  const W = D.words, transcript = R.id("transcript"), turns = new Map(), nodes = [];
  const turnOf = (u) => {
    if (turns.has(u)) return turns.get(u).p;
    const utterance = u === null ? null : D.utterances[u], p = R.el("p");
    const label = utterance === null ? "outside utterances" : R.clock(utterance.start, 1) + "  " + (utterance.emotion === null ? "no answer" : utterance.emotion + " " + R.percent(utterance.probabilities[utterance.emotion]));
    const button = R.el("button", { type: "button", on: { click: () => utterance && R.seek(utterance.start) } }, label);
    const node = R.el("div", { class: "turn", style: utterance && utterance.emotion ? { "border-left-color": R.colours[utterance.emotion] } : {} }, button, p);
    transcript.append(node);
    turns.set(u, { node, p });
    return p;
  };
  R.words = W === null ? { start: [], end: [] } : W;
  if (W === null) {
    transcript.append(R.el("p", { class: "absent" }, "No words: " + (D.reasons.words || D.reasons.text || "none were found") + "."));
    R.id("tinting").hidden = true;
    for (const u of D.utterances) turnOf(u.index);
  } else {
    W.text.forEach((text, i) => {
      const word = R.el("span", { class: "word", role: "button", tabindex: i ? -1 : 0, "data-i": i }, text);
      nodes.push(word);
      turnOf(W.utterance[i]).append(word, " ");
    });
    const names = Object.keys(W.by), select = R.id("tint");
    const title = (name) => (name === "overall" ? "attention, overall" : name.startsWith("hop_") ? "attention, hop " + name.slice(4) : "attention paid by " + name);
    for (const name of names) select.append(R.el("option", { value: name }, title(name)));
    if (!names.length) { R.id("tinting").hidden = true; }
    const tint = () => {
      const paid = W.by[select.value];
      if (!paid) return;
      const most = new Map();
      paid.forEach((x, i) => most.set(W.utterance[i], Math.max(most.get(W.utterance[i]) || 0, x || 0)));
      paid.forEach((x, i) => {
        nodes[i].style.setProperty("--part", x === null ? 0 : (x / (most.get(W.utterance[i]) || 1)).toFixed(3));
        nodes[i].title = R.clock(W.start[i]) + (x === null ? "" : " · " + x.toFixed(2) + " times an even part");
      });
    };
    select.addEventListener("change", tint);
    tint();
    const of = (event) => event.target.closest ? event.target.closest(".word") : null;
    transcript.addEventListener("click", (event) => { const w = of(event); if (w) R.seek(W.start[Number(w.dataset.i)]); });
    transcript.addEventListener("keydown", (event) => {
      const w = of(event);
      if (!w) return;
      const i = Number(w.dataset.i), to = { ArrowRight: i + 1, ArrowDown: i + 1, ArrowLeft: i - 1, ArrowUp: i - 1, Home: 0, End: nodes.length - 1 }[event.key];
      if (event.key === "Enter" || event.key === " ") R.seek(W.start[i]);
      else if (to !== undefined && nodes[to]) { w.tabIndex = -1; nodes[to].tabIndex = 0; nodes[to].focus(); }
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }
  let word = null, turn = null;
  R.followers.push((t) => {
    const i = R.before(R.words.start, t), spoken = i >= 0 && t < Math.max(R.words.end[i], R.words.start[i] + 0.02) ? nodes[i] : null;
    if (spoken !== word) {
      if (word) word.classList.remove("here");
      if (spoken) spoken.classList.add("here");
      word = spoken;
    }
    const u = R.utteranceAt(t), here = u && R.inside(u, t) && turns.has(u.index) ? turns.get(u.index).node : null;
    if (here === turn) return;
    if (turn) turn.classList.remove("here");
    turn = here;
    if (turn) {
      turn.classList.add("here");
      transcript.scrollTop = turn.offsetTop - transcript.offsetTop - 8;
    }
  });

  // Keys, unless something else wants them.
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, button, summary, video, audio, [role=button]")) return;
    const current = R.utteranceAt(R.now), index = current === null ? -1 : current.index;
    const to = (i) => { const u = D.utterances[i]; if (u) R.seek(u.start); };
    if (event.key === " " && R.media) R.media.paused ? R.media.play() : R.media.pause();
    else if (event.key === "ArrowLeft") R.seek(R.now - 1);
    else if (event.key === "ArrowRight") R.seek(R.now + 1);
    else if (event.key === "[") to(current && R.now > current.start + 0.3 ? index : index - 1);
    else if (event.key === "]") to(index + 1);
    else return;
    event.preventDefault();
  });
}
