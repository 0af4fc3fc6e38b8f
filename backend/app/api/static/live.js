// Live progress: one stream of server-sent events for every analysis that is not finished.
// (A browser opens only six connections to a server, so one for each analysis would starve the rest.)
import { askForKey, call, media, onReturn } from "./api.js";

const AT_ONCE = 100;
const REOPEN_MS = 3000;

const watched = new Set();
let stream = null;
let opening = null;
let tell = () => {};

/** `action(analysis)` is called with every change of an analysis that is watched, null-safe and in order. */
export function onChange(action) {
  tell = action;
  onReturn(reopen);
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
  // Several are often added at once; one stream for all of them is enough.
  clearTimeout(opening);
  opening = setTimeout(open, 50);
}

function open() {
  stream?.close();
  stream = null;
  if (!watched.size) return;
  const query = new URLSearchParams([...watched].slice(-AT_ONCE).map((id) => ["analysis", id]));
  const current = new EventSource(media(`/progress?${query}`));
  stream = current;
  current.addEventListener("progress", ({ data }) => {
    const analysis = JSON.parse(data);
    if (analysis.status !== "queued" && analysis.status !== "running") watched.delete(analysis.id);
    tell(analysis);
  });
  current.addEventListener("deleted", ({ data }) => watched.delete(data));
  current.addEventListener("end", () => {
    current.close();
    if (watched.size) reopen();
  });
  current.addEventListener("error", async () => {
    // The browser tries again by itself unless the answer was an error; ours is then a question of why.
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
