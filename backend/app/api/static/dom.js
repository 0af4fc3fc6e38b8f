// Helpers for DOM elements and formatting. Text is always set as text, never as HTML.

export const $ = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

/** Create an element; `on…` properties are listeners, others attributes; null omits one. */
export function make(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children);
}

export function makeSvg(name, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, name), properties, children);
}

function fill(element, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Announce a change to screen readers. */
export function announce(text) {
  $("announcer").textContent = text;
}

/** Format seconds, for example 75.25 as "1:15" or, with tenths, "1:15.3". */
export function clock(seconds, { tenths = false } = {}) {
  const rounded = tenths ? Math.round(seconds * 10) / 10 : Math.floor(seconds);
  const minutes = Math.floor(rounded / 60);
  const rest = (rounded % 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit += 1) value /= 1000;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export const percent = (share) => `${Math.round(share * 100)} %`;

export function when(text) {
  return new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

/** A moment with seconds, in the viewer's time zone. */
export function timeOfDay(text) {
  return new Date(text).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
}

/** Show a message above everything until the next view is opened; null hides it. */
export function notify(text) {
  $("notice").textContent = text ?? "";
  $("notice").hidden = !text;
}

const STATES = {
  queued: "Queued",
  running: "Analysing",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};

export function badge(analysis) {
  if (!analysis) return make("span", { class: "badge" }, "Not analysed");
  const { status, progress } = analysis;
  const label = status === "running" ? `Analysing ${percent(progress)}` : STATES[status] ?? status;
  return make("span", { class: "badge", "data-status": status }, label);
}

export const isUnfinished = (analysis) => analysis?.status === "queued" || analysis?.status === "running";

/** Ask a question in a dialog; resolve to true if the button with the value "yes" is chosen. */
export function confirmed(question) {
  const dialog = $("confirm");
  $("confirm-text").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
