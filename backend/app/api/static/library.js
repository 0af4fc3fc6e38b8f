// The list of videos: filtered, sorted, page by page, kept up to date as analyses go on.
import { call, media } from "./api.js";
import { $, badge, bytes, clock, isUnfinished, make } from "./dom.js";
import { watch } from "./live.js";

const PAGE = 20;
const TYPING_MS = 250;

/** Video id -> {video, item}. */
const shown = new Map();
let cursor = null;
let question = 0;

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

/** Reads the list anew from its beginning. */
export async function reload() {
  cursor = null;
  await load({ anew: true });
}

async function loadMore() {
  const first = await load({ anew: false });
  first?.querySelector("a").focus(); // The button has moved; what it brought is where one goes on.
}

async function load({ anew }) {
  question += 1;
  const mine = question;
  const query = new URLSearchParams({ limit: PAGE });
  for (const [key, value] of new FormData($("filters"))) if (value) query.set(key, value);
  if (cursor) query.set("cursor", cursor);
  let page;
  try {
    page = await call(`/videos?${query}`);
  } catch (error) {
    if (mine === question) note(`The list cannot be read: ${error.message}`);
    return null;
  }
  if (mine !== question) return null; // Another question was asked meanwhile.
  if (anew) {
    shown.clear();
    $("videos").replaceChildren();
  }
  const items = page.videos.filter(({ id }) => !shown.has(id)).map((video) => add(video, { first: false }));
  cursor = page.next_cursor;
  $("more").hidden = cursor === null;
  tellWhenEmpty();
  return items[0];
}

/** Puts a video that has just been stored at the top. */
export function addFirst(video) {
  shown.get(video.id)?.item.remove();
  add(video, { first: true });
  tellWhenEmpty();
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
  tellWhenEmpty();
}

/** Shows a newer state of a video's latest analysis. */
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

function tellWhenEmpty() {
  const filtered = [...new FormData($("filters"))].some(([key, value]) => key !== "sort" && value);
  if (shown.size) $("empty").hidden = true;
  else note(filtered ? "No video matches." : "No videos yet. Add one above and see what moves in it.");
}

function note(text) {
  $("empty").textContent = text;
  $("empty").hidden = false;
}
