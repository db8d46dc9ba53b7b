"use strict";
// The page of `emofuse serve`: sends clips one after the other, and asks how far they are.
class Server {
  constructor() {
    this.mebibytes = Math.floor(R.data.bytes / 1048576);
    this.last = "";
    R.id("bound").textContent = "At most " + this.mebibytes + " MiB per clip.";
    const chosen = R.id("files"),
      drop = R.id("drop");
    chosen.addEventListener("change", async () => {
      await this.sendAll([...chosen.files]);
      chosen.value = "";
    });
    for (const event of ["dragover", "drop"]) addEventListener(event, (happened) => happened.preventDefault());
    drop.addEventListener("dragover", () => drop.classList.add("over"));
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    addEventListener("drop", (event) => {
      drop.classList.remove("over");
      this.sendAll([...event.dataTransfer.files]);
    });
    this.watch();
  }

  say(text) {
    R.id("said").textContent = text;
  }

  send(file) {
    return new Promise((done) => {
      const end = (text) => {
        this.say(text);
        done();
      };
      if (file.size > R.data.bytes) return end(file.name + ": larger than " + this.mebibytes + " MiB");
      const request = new XMLHttpRequest();
      request.open("POST", "clips?name=" + encodeURIComponent(file.name));
      request.setRequestHeader("X-Emofuse", "1");
      request.upload.onprogress = (event) =>
        this.say("sending " + file.name + ": " + Math.round((100 * event.loaded) / event.total) + " %");
      request.onload = () => end(request.status === 201 ? "" : file.name + ": " + request.responseText);
      request.onerror = () => end(file.name + ": the server does not answer");
      request.send(file);
    });
  }

  async sendAll(files) {
    for (const file of files) {
      await this.send(file);
      await this.refresh();
    }
  }

  // What is known of a clip: its answer when it is done, else how far it is, or why it failed.
  what(clip) {
    if (clip.message) return clip.message;
    if (clip.state === "done") {
      const length = clip.length ? R.duration(clip.length) : "";
      const answer = clip.emotion ? clip.emotion + " " + R.percent(clip.probability) : "no answer";
      return [clip.answered ? answer : "", length].filter(Boolean).join(" · ");
    }
    const stages = Object.entries(clip.stages).map(([name, at]) => name + " " + at.toFixed(0) + " s");
    if (stages.length) return stages.join(", ") + (clip.length ? " of " + clip.length.toFixed(0) + " s" : "");
    return clip.state === "running" ? "loading the models" : "";
  }

  row(clip) {
    const remove = async () => {
      await fetch("clips/" + clip.id, { method: "DELETE", headers: { "X-Emofuse": "1" } });
      this.refresh();
    };
    const button = R.el(
      "button",
      { type: "button", "aria-label": "Delete " + clip.name, on: { click: remove } },
      "Delete",
    );
    const value = clip.length ? clip.at : null,
      label = "How far " + clip.name + " is";
    const bar =
      clip.state === "running" ? R.el("progress", { max: clip.length || 1, value, "aria-label": label }) : null;
    const address = () => "clips/" + clip.id + "/" + clip.report.split("/").map(encodeURIComponent).join("/");
    const link = clip.report === null ? "" : R.el("a", { href: address() }, "report");
    const chip = clip.emotion
      ? R.el("i", { style: { background: R.colours[clip.emotion] || "transparent" } })
      : null;
    return R.el(
      "tr",
      {},
      R.el("td", { class: "name", "data-label": "" }, clip.name),
      R.el("td", { "data-label": "state" }, R.el("span", { class: "state " + clip.state }, clip.state)),
      R.el(
        "td",
        { class: "why", "data-label": "result" },
        R.el("span", { class: "chip wrap" }, bar, chip, this.what(clip)),
      ),
      R.el("td", { "data-label": "report", class: link ? null : "empty" }, link),
      R.el("td", { "data-label": "" }, button),
    );
  }

  async refresh() {
    let clips;
    try {
      clips = await (await fetch("clips")).json();
    } catch {
      this.say("the server does not answer");
      return false;
    }
    const text = JSON.stringify(clips);
    if (text !== this.last) {
      this.last = text;
      R.id("none").hidden = clips.length > 0;
      R.id("clips").tBodies[0].replaceChildren(...clips.map((clip) => this.row(clip)));
    }
    return clips.some((clip) => clip.state === "waiting" || clip.state === "running");
  }

  async watch() {
    const busy = await this.refresh();
    setTimeout(() => this.watch(), busy ? 500 : 2000);
  }
}

new Server();
