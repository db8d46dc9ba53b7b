"use strict";
// The page of `emofuse serve`: sends clips one after the other, and asks how far they are.
{
  const data = JSON.parse(document.getElementById("data").textContent), id = (name) => document.getElementById(name), OWN = { "X-Emofuse": "1" };
  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
    for (const child of children) if (child !== null) node.append(child); // strings become text, never HTML
    return node;
  };
  const dark = matchMedia("(prefers-color-scheme: dark)"), theme = () => { document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; };
  dark.addEventListener("change", theme);
  theme();
  const say = (text) => { id("said").textContent = text; };
  id("bound").textContent = "At most " + Math.floor(data.bytes / 1048576) + " MiB a clip.";

  const send = (file) => new Promise((done) => {
    if (file.size > data.bytes) { say(file.name + ": larger than " + Math.floor(data.bytes / 1048576) + " MiB"); done(); return; }
    const request = new XMLHttpRequest();
    request.open("POST", "clips?name=" + encodeURIComponent(file.name));
    request.setRequestHeader("X-Emofuse", "1");
    request.upload.onprogress = (e) => say("sending " + file.name + ": " + Math.round((100 * e.loaded) / e.total) + " %");
    request.onload = () => { say(request.status === 201 ? file.name + " is here" : file.name + ": " + request.responseText); done(); };
    request.onerror = () => { say(file.name + ": the server does not answer"); done(); };
    request.send(file);
  });
  const sendAll = async (files) => { for (const file of files) { await send(file); await refresh(); } };
  id("files").addEventListener("change", async () => { await sendAll([...id("files").files]); id("files").value = ""; });
  for (const event of ["dragover", "drop"]) addEventListener(event, (e) => e.preventDefault());
  id("drop").addEventListener("dragover", () => id("drop").classList.add("over"));
  id("drop").addEventListener("dragleave", () => id("drop").classList.remove("over"));
  addEventListener("drop", (e) => { id("drop").classList.remove("over"); sendAll([...e.dataTransfer.files]); });

  const what = (clip) => {
    if (clip.message) return clip.message;
    const stages = Object.entries(clip.stages).map(([name, at]) => name + " " + at.toFixed(0) + " s");
    return stages.length ? stages.join(", ") + (clip.length ? " of " + clip.length.toFixed(0) + " s" : "") : clip.state === "running" ? "loading the models" : "";
  };
  let last = "";
  const refresh = async () => {
    let clips;
    try { clips = await (await fetch("clips")).json(); } catch { say("the server does not answer"); return false; }
    const text = JSON.stringify(clips);
    if (text !== last) {
      last = text;
      id("none").hidden = clips.length > 0;
      id("clips").tBodies[0].replaceChildren(...clips.map((clip) => {
        const button = el("button", { type: "button", "aria-label": "Delete " + clip.name }, "Delete");
        button.addEventListener("click", async () => { await fetch("clips/" + clip.id, { method: "DELETE", headers: OWN }); refresh(); });
        const bar = clip.state === "running" ? el("progress", { max: clip.length || 1, value: clip.length ? clip.at : null, "aria-label": "How far " + clip.name + " is" }) : null;
        const link = clip.report === null ? "" : el("a", { href: "clips/" + clip.id + "/" + clip.report.split("/").map(encodeURIComponent).join("/") }, "report");
        return el("tr", {}, el("td", { class: "name" }, clip.name), el("td", {}, el("span", { class: "state " + clip.state }, clip.state)), el("td", { class: "why" }, bar, " ", what(clip)), el("td", {}, link), el("td", {}, button));
      }));
    }
    return clips.some((clip) => clip.state === "waiting" || clip.state === "running");
  };
  const watch = async () => { const busy = await refresh(); setTimeout(watch, busy ? 500 : 2000); };
  watch();
}
