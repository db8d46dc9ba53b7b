"use strict";
// The words beside the clip: a click goes there, the spoken one is marked, and attention or influence tints them.
class Transcript {
  constructor() {
    this.panel = R.id("transcript");
    this.words = R.data.words;
    this.turns = new Map();
    this.nodes = [];
    if (this.words === null) this.explain();
    else {
      this.write();
      this.tints();
      this.listen();
    }
    R.followers.push((time) => {
      this.followWord(time);
      this.followTurn(time);
    });
  }

  explain() {
    const why = R.data.reasons.words || R.data.reasons.text || "none were found";
    this.panel.append(R.el("p", { class: "absent" }, "No words: " + why + "."));
    R.id("tinting").hidden = true;
    for (const utterance of R.data.utterances) this.turn(utterance.index);
  }

  // The paragraph of an utterance, or of the words outside all (null).
  turn(index) {
    if (this.turns.has(index)) return this.turns.get(index).paragraph;
    const utterance = index === null ? null : R.data.utterances[index],
      paragraph = R.el("p");
    const who = utterance && utterance.speaker ? "  " + utterance.speaker : "";
    const text =
      utterance === null
        ? "between utterances"
        : R.clock(utterance.start, 1) + who + "  " + R.answer(utterance);
    const button = R.el(
      "button",
      { type: "button", on: { click: () => utterance && R.seek(utterance.start) } },
      text,
    );
    const style = utterance && utterance.emotion ? { "border-left-color": R.colours[utterance.emotion] } : {};
    const node = R.el("div", { class: "turn", style }, button, paragraph);
    this.panel.append(node);
    this.turns.set(index, { node, paragraph });
    return paragraph;
  }

  write() {
    this.words.text.forEach((text, i) => {
      const word = R.el("span", { class: "word", role: "button", tabindex: i ? -1 : 0, "data-i": i }, text);
      this.nodes.push(word);
      this.turn(this.words.utterance[i]).append(word, " ");
    });
  }

  tints() {
    const select = R.id("tint");
    const title = (name) => {
      if (name === "overall") return "attention, overall";
      return name.startsWith("hop_") ? "attention, hop " + name.slice(4) : "attention paid by " + name;
    };
    if (this.words.influence) select.append(R.el("option", { value: "influence" }, "influence on the answer"));
    for (const name of Object.keys(this.words.by)) select.append(R.el("option", { value: name }, title(name)));
    R.id("tinting").hidden = !select.options.length;
    select.addEventListener("change", () => this.tint(select.value));
    if (select.options.length) this.tint(select.value);
  }

  tint(name) {
    const influence = name === "influence",
      values = influence ? this.words.influence : this.words.by[name],
      most = new Map();
    const of = (i) => this.words.utterance[i];
    values.forEach((value, i) => most.set(of(i), Math.max(most.get(of(i)) || 0, Math.abs(value || 0))));
    values.forEach((value, i) => {
      const node = this.nodes[i];
      node.style.setProperty("--part", value === null ? 0 : (Math.abs(value) / (most.get(of(i)) || 1)).toFixed(3));
      node.classList.toggle("against", influence && value !== null && value < 0);
      node.title = R.clock(this.words.start[i]) + (value === null ? "" : " · " + this.say(value, influence, i));
    });
  }

  say(value, influence, i) {
    if (!influence) return value.toFixed(2) + " times an even share";
    const on = this.words.influence_on ? this.words.influence_on[i] : null;
    const what = on ? " of " + on : "";
    return (
      (value < 0 ? "speaks against the answer" : "speaks for the answer") +
      ": " +
      value.toFixed(2) +
      " log odds" +
      what
    );
  }

  listen() {
    const word = (event) => (event.target.closest ? event.target.closest(".word") : null);
    this.panel.addEventListener("click", (event) => {
      const node = word(event);
      if (node) R.seek(this.words.start[Number(node.dataset.i)]);
    });
    this.panel.addEventListener("keydown", (event) => {
      const node = word(event);
      if (!node) return;
      const i = Number(node.dataset.i),
        last = this.nodes.length - 1;
      const to = { ArrowRight: i + 1, ArrowDown: i + 1, ArrowLeft: i - 1, ArrowUp: i - 1, Home: 0, End: last }[
        event.key
      ];
      if (event.key === "Enter" || event.key === " ") R.seek(this.words.start[i]);
      else if (to !== undefined && this.nodes[to]) {
        node.tabIndex = -1;
        this.nodes[to].tabIndex = 0;
        this.nodes[to].focus();
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  followWord(time) {
    if (this.words === null) return;
    const i = R.before(this.words.start, time),
      shortest = 0.02;
    const spoken =
      i >= 0 && !R.begun(Math.max(this.words.end[i], this.words.start[i] + shortest), time) ? this.nodes[i] : null;
    if (spoken === this.word) return;
    if (this.word) this.word.classList.remove("here");
    if (spoken) spoken.classList.add("here");
    this.word = spoken;
  }

  followTurn(time) {
    const utterance = R.utteranceNow(time);
    const here = utterance && this.turns.has(utterance.index) ? this.turns.get(utterance.index).node : null;
    if (here === this.here) return;
    if (this.here) this.here.classList.remove("here");
    this.here = here;
    if (!here) return;
    here.classList.add("here");
    this.panel.scrollTop = here.offsetTop - this.panel.offsetTop - 8;
  }
}

new Transcript();
