// The list of videos: filtered, sorted, paginated, and updated live.
import { call, media } from "./api.js";
import { $, announce, badge, bytes, clock, confirmed, isUnfinished, make, notify, when } from "./dom.js";
import { watch } from "./live.js";
import * as route from "./route.js";

const PAGE = 20;
const TYPING_MS = 250;

/** Map of video ids to {video, item}. */
const shown = new Map();
let cursor = null;
let latestRequest = 0;
/** Ids of the videos that are selected for deletion; null while nothing can be selected. */
let selected = null;

export function installLibrary() {
  const filters = $("filters");
  let typing = null;
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(reload, TYPING_MS);
  });
  $("more").addEventListener("click", loadMore);
  $("select").addEventListener("click", () => selectVideos(selected ? null : new Set()));
  $("select-all").addEventListener("click", () => selectVideos(new Set(shown.keys())));
  $("delete-selected").addEventListener("click", deleteSelected);
}

function selectVideos(chosen) {
  selected = chosen;
  $("select").setAttribute("aria-pressed", String(selected !== null));
  $("select").textContent = selected ? "Cancel" : "Select";
  for (const id of shown.keys()) draw(id);
  countSelected();
}

function countSelected() {
  const button = $("delete-selected");
  button.hidden = !selected;
  $("select-all").hidden = !selected;
  button.disabled = !selected?.size;
  button.textContent = selected?.size ? `Delete ${selected.size} selected` : "Delete selected";
}

async function deleteSelected() {
  const ids = [...selected];
  const what = ids.length === 1 ? shown.get(ids[0]).video.filename : `${ids.length} videos`;
  if (!await confirmed(`Delete ${what} with all analyses, events and clips?`)) return;
  let failure = null;
  for (const id of ids) {
    try {
      await call(`/videos/${id}`, { method: "DELETE" });
    } catch (error) {
      if (error.status !== 404) {
        failure = error;
        break;
      }
    }
    selected?.delete(id);
    remove(id);
    if (route.current().video === id) window.location.hash = "";
    countSelected();
  }
  if (failure) notify(`Not all could be deleted: ${failure.message}`);
  else {
    announce(`${what} deleted.`);
    selectVideos(null);
  }
  if (!shown.size) reload();
}

/** Reload the list from the first page. */
export async function reload() {
  cursor = null;
  await load({ reset: true });
}

/** The query parameters of the filters; days are those of the viewer's time zone. */
function filtersSet() {
  const set = [];
  for (const [key, value] of new FormData($("filters"))) {
    if (!value) continue;
    const day = key.startsWith("created_") ? new Date(`${value}T00:00`) : null;
    if (key === "created_before") day.setDate(day.getDate() + 1);
    set.push([key, day ? day.toISOString() : value]);
  }
  return set;
}

async function loadMore() {
  const first = await load({ reset: false });
  first?.querySelector("a").focus(); // The button has moved, so continue at the first new item.
}

async function load({ reset }) {
  latestRequest += 1;
  const thisRequest = latestRequest;
  const query = new URLSearchParams({ limit: PAGE });
  for (const [key, value] of filtersSet()) query.set(key, value);
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
    if (selected) selectVideos(new Set());
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
  selected?.delete(id);
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
  const here = route.current().video === id;
  const box = selected && make("input", {
    type: "checkbox", checked: selected.has(id), "aria-label": `Select ${video.filename}`,
    onchange: ({ target }) => {
      if (target.checked) selected.add(id);
      else selected.delete(id);
      countSelected();
    },
  });
  item.replaceChildren(
    ...(box ? [box] : []),
    make("a", { class: "video", href: route.link({ video: id }), "aria-current": here ? "true" : null },
      make("img", { src: media(`/videos/${id}/thumbnail?width=160`), alt: "", width: 160, height: 90, loading: "lazy" }),
      make("span", { class: "text" },
        make("strong", {}, video.filename),
        make("span", { class: "line quiet" }, ...facts(video)))));
}

function facts({ analysis, duration, size, recorded_at: recorded, created_at: added }) {
  const found = analysis?.event_count;
  return [
    badge(analysis),
    found === null || found === undefined ? null : make("span", {}, found === 1 ? "1 event" : `${found} events`),
    make("span", {}, duration === null ? bytes(size) : clock(duration)),
    make("span", {}, when(recorded ?? added)),
  ].filter(Boolean);
}

function updateEmptyNote() {
  const filtered = filtersSet().some(([key]) => key !== "sort");
  if (shown.size) $("empty").hidden = true;
  else note(filtered ? "No matching videos." : "No videos yet. Add one above to detect motion in it.");
}

function note(text) {
  $("empty").textContent = text;
  $("empty").hidden = false;
}
