// The details of one video: metadata, analyses, and actions.
import { call, media } from "./api.js";
import { fillAreas, installAreas, readAreas, showPicture } from "./areas.js";
import { $, announce, badge, bytes, clock, confirmed, isUnfinished, make, notify, percent, timeOfDay, when } from "./dom.js";
import { clearFindings, loadFindings, select } from "./findings.js";
import * as library from "./library.js";
import { watch } from "./live.js";
import * as player from "./player.js";
import * as route from "./route.js";
import { showTime } from "./timeline.js";

let video = null;
let analysis = null;
/** All analyses of the video, newest first. */
let history = [];

export function installDetail() {
  player.installPlayer((seconds) => {
    showTime(seconds);
    if (video) $("moment").href = route.link({ video: video.id, time: seconds });
  });
  installAreas();
  $("again-box").addEventListener("toggle", () => {
    if ($("again-box").open) showPicture(video);
  });
  $("delete").addEventListener("click", remove);
  const form = $("again");
  form.elements.sensitivity.addEventListener("input", () => {
    form.elements.shown.value = Number(form.elements.sensitivity.value).toFixed(2);
  });
  form.addEventListener("submit", again);
}

/**
 * Show what the address names: a video, and optionally one of its analyses, an event or a time.
 * Resolve to false if the video does not exist.
 */
export async function open(place) {
  const id = place.video;
  if (video?.id !== id) {
    $("detail").hidden = true;
    analysis = null;
  }
  try {
    const [found, page] = await Promise.all([
      call(`/videos/${id}`),
      call(`/analyses?video_id=${id}&limit=20`),
    ]);
    if (route.current().video !== id) return true;
    history = page.analyses;
    await show(found, place);
  } catch (error) {
    if (error.status === 404) {
      library.remove(id);
      return false;
    }
    announce(error.message);
  }
  return true;
}

/** Return the event that the address names, if it is one of this video. */
async function linkedEvent(place) {
  if (!place.event) return null;
  try {
    const event = await call(`/events/${place.event}`);
    if (history.some(({ id }) => id === event.analysis_id)) return event;
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  notify("This event does not exist. The video may have been analysed again, or its analysis deleted.");
  return null;
}

export function close() {
  if (!video) return;
  video = null;
  analysis = null;
  player.close();
  $("detail").hidden = true;
}

async function show(found, place) {
  const event = await linkedEvent(place);
  if (route.current().video !== found.id) return;
  const another = video?.id !== found.id;
  video = found;
  $("title").textContent = video.filename;
  drawFacts();
  if (document.body.dataset.retention !== undefined) {
    import("./retention.js").then(({ showRetention }) => showRetention(found.id));
  }
  $("moment").href = route.link({ video: video.id, time: place.time ?? 0 });
  $("download").href = media(`/videos/${video.id}/content`);
  $("download").setAttribute("download", video.filename);
  $("detail").hidden = false;
  if (another) {
    player.open(video);
    $("again-box").open = false;
    $("title").focus();
  }
  const wanted = event?.analysis_id ?? place.analysis ?? (another ? null : analysis?.id);
  choose(history.find(({ id }) => id === wanted) ?? video.analysis);
  select(event?.id ?? null);
  const time = event?.start ?? place.time;
  if (time !== null) player.goTo(time);
}

function drawFacts() {
  $("facts").textContent = [
    size(video),
    video.codec?.toUpperCase(),
    video.duration === null ? null : clock(video.duration),
    bytes(video.size),
    video.recorded_at ? `recorded ${timeOfDay(video.recorded_at)}` : null,
    `added ${when(video.created_at)}`,
  ].filter(Boolean).join(" · ");
}

/** The size as shown, which services of older versions do not tell. */
function size({ width, height, rotation, display_width: shownWidth, display_height: shownHeight }) {
  if (shownWidth) return `${shownWidth} × ${shownHeight}`;
  if (!width) return null;
  return rotation === 90 || rotation === 270 ? `${height} × ${width}` : `${width} × ${height}`;
}

/** Show one of the video's analyses. */
function choose(chosen) {
  analysis = chosen;
  drawState();
  if (!analysis) clearFindings("Not analysed yet.");
  else if (analysis.status === "done") loadFindings(analysis);
  else clearFindings(isUnfinished(analysis) ? "Events appear here when the analysis is done." : "");
  if (isUnfinished(analysis)) watch(analysis.id);
  if (analysis) fillSettings(analysis.parameters);
}

/** Apply a newer state of any analysis. */
export function update(changed) {
  if (changed.video_id !== video?.id) return;
  const index = history.findIndex(({ id }) => id === changed.id);
  if (index >= 0 && history[index].revision > changed.revision) return;
  if (index >= 0) history[index] = changed;
  else history.unshift(changed);
  if (changed.id !== analysis?.id) return;
  if (changed.status !== analysis.status) {
    announce(`${video.filename}: ${badge(changed).textContent}`);
    choose(changed);
    if (changed.status === "done") reread();
  } else {
    analysis = changed;
    drawState();
  }
}

/** The analysis may have added a preview and corrected the facts. */
async function reread() {
  const { id } = video;
  const found = await call(`/videos/${id}`).catch(() => null);
  if (!found || video?.id !== id) return;
  video = found;
  drawFacts();
  player.refresh(found);
}

function drawState() {
  const box = $("state");
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.action : null;
  box.replaceChildren(make("div", { class: "actions" }, badge(analysis), picker(), ...buttons()));
  if (isUnfinished(analysis)) {
    box.append(make("progress", {
      max: 1, value: analysis.status === "running" ? analysis.progress : 0,
      "aria-label": `Analysis, ${percent(analysis.progress)}`,
    }));
  }
  if (analysis?.reason) box.append(make("p", { class: "reason" }, analysis.reason));
  if (analysis?.warning) box.append(make("p", { class: "note" }, analysis.warning));
  if (analysis?.detail) {
    box.append(make("details", {}, make("summary", {}, "Technical details"), make("pre", {}, analysis.detail)));
  }
  if (focused) box.querySelector(`[data-action="${focused}"]`)?.focus();
}

function picker() {
  if (history.length < 2) return null;
  const list = make("select", { "aria-label": "Analysis to show", "data-action": "pick" },
    ...history.map((each) => make("option", { value: each.id, selected: each.id === analysis.id },
      `${when(each.requested_at)}, sensitivity ${each.parameters.sensitivity}`)));
  list.addEventListener("change", () => {
    choose(history.find(({ id }) => id === list.value));
    route.replace(route.link({ video: video.id, analysis: list.value }));
  });
  return list;
}

function buttons() {
  const button = (action, label) => make("button", { type: "button", "data-action": action, onclick: () => act(action) }, label);
  if (isUnfinished(analysis)) return [button("cancel", "Cancel")];
  if (analysis?.status === "failed" || analysis?.status === "cancelled") return [button("retry", "Retry")];
  return [];
}

async function act(action) {
  try {
    showChanged(await call(`/analyses/${analysis.id}/${action}`, { method: "POST" }));
  } catch (error) {
    showError(error);
  }
}

/** Show an analysis that the service has just returned. */
function showChanged(changed) {
  const index = history.findIndex(({ id }) => id === changed.id);
  if (index >= 0) history[index] = changed;
  else history.unshift(changed);
  library.update(changed);
  choose(changed);
}

async function again(event) {
  event.preventDefault();
  const form = new FormData($("again"));
  const number = (name) => Number(form.get(name));
  const json = {
    sensitivity: number("sensitivity"),
    minimum_duration: number("minimum_duration"),
    frame_rate: number("frame_rate"),
    ...readAreas(),
  };
  try {
    showChanged(await call(`/videos/${video.id}/analyses`, { method: "POST", json }));
    $("again-box").open = false;
    $("state").scrollIntoView({ block: "nearest" });
  } catch (error) {
    showError(error);
  }
}

function fillSettings(parameters) {
  const { sensitivity, minimum_duration, frame_rate } = parameters;
  if ($("again-box").open) return; // The user is editing it.
  const { elements } = $("again");
  elements.sensitivity.value = sensitivity;
  elements.shown.value = sensitivity.toFixed(2);
  elements.minimum_duration.value = minimum_duration;
  elements.frame_rate.value = frame_rate;
  fillAreas(parameters);
}

async function remove() {
  const { id, filename } = video;
  if (!await confirmed(`Delete ${filename} and its analyses, events and clips?`)) return;
  try {
    await call(`/videos/${id}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) {
      showError(error);
      return;
    }
  }
  library.remove(id);
  announce(`${filename} has been deleted.`);
  window.location.hash = "";
}

function showError(error) {
  $("state").append(make("p", { class: "reason", role: "alert" }, error.message));
}
