// The list of videos: filtered, sorted, paginated, and updated live.
import { call, media } from "./api.js";
import { $, badge, bytes, clock, isUnfinished, make } from "./dom.js";
import { watch } from "./live.js";

const PAGE = 20;
const TYPING_MS = 250;

/** Map of video ids to {video, item}. */
const shown = new Map();
let cursor = null;
let latestRequest = 0;

export function installLibrary() {
  const filters = $("filters");
  let typing = null;
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(reload, TYPING_MS);
  });
  $("more").addEventListener("click", loadMore);
}

/** Reload the list from the first page. */
export async function reload() {
  cursor = null;
  await load({ reset: true });
}

async function loadMore() {
  const first = await load({ reset: false });
  first?.querySelector("a").focus(); // The button has moved, so continue at the first new item.
}

async function load({ reset }) {
  latestRequest += 1;
  const thisRequest = latestRequest;
  const query = new URLSearchParams({ limit: PAGE });
  for (const [key, value] of new FormData($("filters"))) if (value) query.set(key, value);
  if (cursor) query.set("cursor", cursor);
  let page;
  try {
    page = await call(`/videos?${query}`);
  } catch (error) {
    if (thisRequest === latestRequest) note(`Cannot load the list: ${error.message}`);
    return null;
  }
  if (thisRequest !== latestRequest) return null; // Superseded by a newer request.
  if (reset) {
    shown.clear();
    $("videos").replaceChildren();
  }
  const items = page.videos.filter(({ id }) => !shown.has(id)).map((video) => add(video, { first: false }));
  cursor = page.next_cursor;
  $("more").hidden = cursor === null;
  updateEmptyNote();
  return items[0];
}

/** Add a newly stored video at the top. */
export function addFirst(video) {
  shown.get(video.id)?.item.remove();
  add(video, { first: true });
  updateEmptyNote();
}

function add(video, { first }) {
  const item = make("li");
  shown.set(video.id, { video, item });
  draw(video.id);
  if (first) $("videos").prepend(item);
  else $("videos").append(item);
  if (isUnfinished(video.analysis)) watch(video.analysis.id);
  return item;
}

export function remove(id) {
  shown.get(id)?.item.remove();
  shown.delete(id);
  updateEmptyNote();
}

/** Show a newer state of a video's latest analysis. */
export function update(analysis) {
  const entry = shown.get(analysis.video_id);
  const known = entry?.video.analysis;
  if (!entry || (known && known.id !== analysis.id && known.requested_at > analysis.requested_at)) return;
  if (known?.id === analysis.id && known.revision > analysis.revision) return;
  entry.video.analysis = analysis;
  entry.item.querySelector(".line").replaceChildren(...facts(entry.video));
}

export function markCurrent(id) {
  for (const [key, { item }] of shown) {
    const link = item.querySelector("a");
    if (key === id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function draw(id) {
  const { video, item } = shown.get(id);
  const here = window.location.hash === `#video=${id}`;
  item.replaceChildren(
    make("a", { class: "video", href: `#video=${id}`, "aria-current": here ? "true" : null },
      make("img", { src: media(`/videos/${id}/thumbnail?width=160`), alt: "", width: 160, height: 90, loading: "lazy" }),
      make("span", { class: "text" },
        make("strong", {}, video.filename),
        make("span", { class: "line quiet" }, ...facts(video)))));
}

function facts({ analysis, duration, size }) {
  const found = analysis?.event_count;
  return [
    badge(analysis),
    found === null || found === undefined ? null : make("span", {}, found === 1 ? "1 event" : `${found} events`),
    make("span", {}, duration === null ? bytes(size) : clock(duration)),
  ].filter(Boolean);
}

function updateEmptyNote() {
  const filtered = [...new FormData($("filters"))].some(([key, value]) => key !== "sort" && value);
  if (shown.size) $("empty").hidden = true;
  else note(filtered ? "No matching videos." : "No videos yet. Add one above to detect motion in it.");
}

function note(text) {
  $("empty").textContent = text;
  $("empty").hidden = false;
}
