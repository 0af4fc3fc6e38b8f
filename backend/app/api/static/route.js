// The address: #video=ID, and optionally &analysis=ID, &event=ID or &t=SECONDS. Every view can be linked to.

const ID = /^[0-9a-f-]{36}$/;

/** Return what the address names; null for what it does not name. */
export function current() {
  const named = new URLSearchParams(window.location.hash.slice(1));
  const id = (name) => (ID.test(named.get(name)) ? named.get(name) : null);
  const time = Number(named.get("t"));
  return {
    video: id("video"),
    analysis: id("analysis"),
    event: id("event"),
    time: named.has("t") && time >= 0 && Number.isFinite(time) ? time : null,
  };
}

export function link({ video, analysis = null, event = null, time = null }) {
  const named = new URLSearchParams({ video });
  if (analysis) named.set("analysis", analysis);
  if (event) named.set("event", event);
  if (time !== null) named.set("t", time.toFixed(1));
  return `#${named}`;
}

/** Change the address without a new entry in the history, and without loading anything. */
export function replace(hash) {
  window.history.replaceState(null, "", hash || window.location.pathname);
}
