"use strict";
// What all pages share: the data, elements made without HTML, formats, colours and the theme.
const R = { data: JSON.parse(document.getElementById("data").textContent), errors: [] };
addEventListener("error", (event) => R.errors.push(event.message));
addEventListener("unhandledrejection", (event) => R.errors.push(String(event.reason)));

R.id = (name) => document.getElementById(name);

// An element. `on` holds listeners, `style` properties; strings among the children become text, never HTML.
R.el = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (key === "style") for (const [name, text] of Object.entries(value)) node.style.setProperty(name, text);
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
};

R.plural = (count, one, many = one + "s") => count + " " + (count === 1 ? one : many);
R.percent = (part) => (100 * part).toFixed(0) + " %";
R.clock = (seconds, digits = 2) => {
  const whole = Math.max(0, seconds),
    hours = Math.floor(whole / 3600),
    minutes = Math.floor(whole / 60) % 60;
  const rest = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return (hours ? hours + ":" + String(minutes).padStart(2, "0") : String(minutes)) + ":" + rest;
};
R.duration = (seconds) => (seconds < 60 ? seconds.toFixed(1) + " s" : R.clock(Math.floor(seconds), 0) + " min");

// palette.py's colours, with hatches beside them, so that colour is never alone.
R.colours = R.data.palette ? R.data.palette.emotions : {};
R.inkOn = (emotion) => R.data.palette.ink[emotion];
R.hatches = {
  anger: "right_diagonal_line",
  disgust: "dot",
  fear: "diagonal_cross",
  happiness: "blank",
  sadness: "horizontal_line",
  surprise: "vertical_line",
  neutral: "blank",
};

// Theme: the system's, until the reader chooses by the button, where the page has one.
R.css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
R.themed = []; // called when the colours have changed
{
  const system = matchMedia("(prefers-color-scheme: dark)"),
    names = ["system", "light", "dark"],
    button = R.id("theme");
  let choice = "system";
  const apply = () => {
    document.documentElement.dataset.theme = choice === "system" ? (system.matches ? "dark" : "light") : choice;
    if (button) button.textContent = "Theme: " + choice;
    for (const follow of R.themed) follow();
  };
  if (button)
    button.addEventListener("click", () => {
      choice = names[(names.indexOf(choice) + 1) % 3];
      apply();
    });
  system.addEventListener("change", apply);
  apply();
}
