"use strict";
// What the parts of the page share: the data, elements made without HTML, formats, colours, and the one time that everything follows.
const R = { data: JSON.parse(document.getElementById("data").textContent), errors: [] };
addEventListener("error", (e) => R.errors.push(e.message));
addEventListener("unhandledrejection", (e) => R.errors.push(String(e.reason)));

R.el = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, f] of Object.entries(value)) node.addEventListener(event, f);
    else if (key === "style") for (const [name, v] of Object.entries(value)) node.style.setProperty(name, v);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child); // strings become text, never HTML
  return node;
};
R.id = (name) => document.getElementById(name);

const bytesOf = (text) => {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i); // ten times as fast as Uint8Array.from with a function
  return bytes;
};
R.floats = (packed) => new Float32Array(bytesOf(packed.f4).buffer); // the page is for little-endian machines: all that run browsers today
R.bytes = (packed) => bytesOf(packed.u1);

R.clock = (t, digits = 2) => {
  const whole = Math.max(0, t), h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60;
  const s = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return (h ? h + ":" + String(m).padStart(2, "0") : String(m)) + ":" + s;
};
R.percent = (x) => (100 * x).toFixed(0) + " %";

// The colours of palette.py, with hatches beside them.
R.colours = R.data.palette.emotions;
R.hatches = { anger: "right_diagonal_line", disgust: "dot", fear: "diagonal_cross", happiness: "blank", sadness: "horizontal_line", surprise: "vertical_line", neutral: "blank" };
R.inkOn = (emotion) => R.data.palette.ink[emotion];

R.length = Math.max(R.data.clip.length, 0.01);
R.now = 0;
R.followers = []; // called with the time whenever it changes
R.at = (t) => {
  R.now = Math.min(Math.max(t, 0), R.length);
  for (const follow of R.followers) follow(R.now);
};
// The utterance at a time, or the nearest one before it.
R.utteranceAt = (t) => {
  let found = null;
  for (const u of R.data.utterances) if (u.start <= t) found = u; else break;
  return found;
};
R.inside = (u, t) => u !== null && t >= u.start && t < u.end;
// The last index whose start is at most t in sorted starts; -1 before the first.
R.before = (starts, t) => {
  let a = 0, b = starts.length;
  while (a < b) { const m = (a + b) >> 1; if (starts[m] <= t) a = m + 1; else b = m; }
  return a - 1;
};

// Theme: the system's, until the reader chooses.
R.css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
R.themed = []; // called when the colours have changed
{
  const system = matchMedia("(prefers-color-scheme: dark)"), names = ["system", "light", "dark"];
  let choice = "system";
  const apply = () => {
    document.documentElement.dataset.theme = choice === "system" ? (system.matches ? "dark" : "light") : choice;
    R.id("theme").textContent = "Theme: " + choice;
    for (const f of R.themed) f();
  };
  R.id("theme").addEventListener("click", () => { choice = names[(names.indexOf(choice) + 1) % 3]; apply(); });
  system.addEventListener("change", apply);
  apply();
}
