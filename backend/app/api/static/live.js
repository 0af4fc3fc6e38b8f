// Live progress: one stream of server-sent events for all unfinished analyses.
// (Browsers open at most six connections per server; one per analysis would starve other requests.)
import { askForKey, call, media, onRecovery } from "./api.js";

const MAX_WATCHED = 100;
const REOPEN_MS = 3000;

const watched = new Set();
let stream = null;
let opening = null;
let callback = () => {};

/** Call `action(analysis)` for every change of a watched analysis, in order. */
export function onChange(action) {
  callback = action;
  onRecovery(reopen);
}

export function watch(id) {
  if (watched.has(id)) return;
  watched.add(id);
  reopen();
}

export function unwatch(id) {
  watched.delete(id);
}

function reopen() {
  // Several analyses are often added in quick succession; open one stream for all of them.
  clearTimeout(opening);
  opening = setTimeout(open, 50);
}

function open() {
  stream?.close();
  stream = null;
  if (!watched.size) return;
  const query = new URLSearchParams([...watched].slice(-MAX_WATCHED).map((id) => ["analysis", id]));
  const current = new EventSource(media(`/progress?${query}`));
  stream = current;
  current.addEventListener("progress", ({ data }) => {
    const analysis = JSON.parse(data);
    if (analysis.status !== "queued" && analysis.status !== "running") watched.delete(analysis.id);
    callback(analysis);
  });
  current.addEventListener("deleted", ({ data }) => watched.delete(data));
  current.addEventListener("end", () => {
    current.close();
    if (watched.size) reopen();
  });
  current.addEventListener("error", async () => {
    // The browser reconnects by itself except after an error response; then find out why.
    if (current.readyState !== EventSource.CLOSED || stream !== current) return;
    try {
      await call("/videos?limit=1");
    } catch (error) {
      if (error.status === 401) askForKey();
    }
    clearTimeout(opening);
    opening = setTimeout(open, REOPEN_MS);
  });
}
