// The details of one video: metadata, analyses, and actions.
import { call, media } from "./api.js";
import { $, announce, badge, bytes, clock, confirmed, isUnfinished, make, percent, when } from "./dom.js";
import { clearFindings, loadFindings } from "./findings.js";
import * as library from "./library.js";
import { watch } from "./live.js";
import * as player from "./player.js";
import { showTime } from "./timeline.js";

let video = null;
let analysis = null;
/** All analyses of the video, newest first. */
let history = [];

export function installDetail() {
  player.installPlayer(showTime);
  $("delete").addEventListener("click", remove);
  const form = $("again");
  form.elements.sensitivity.addEventListener("input", () => {
    form.elements.shown.value = Number(form.elements.sensitivity.value).toFixed(2);
  });
  form.addEventListener("submit", again);
}

export async function open(id) {
  if (video?.id !== id) {
    $("detail").hidden = true;
    analysis = null;
  }
  try {
    const [found, page] = await Promise.all([
      call(`/videos/${id}`),
      call(`/analyses?video_id=${id}&limit=20`),
    ]);
    if (window.location.hash !== `#video=${id}`) return;
    history = page.analyses;
    show(found);
  } catch (error) {
    if (error.status === 404) {
      library.remove(id);
      window.location.hash = "";
    }
    announce(error.message);
  }
}

export function close() {
  if (!video) return;
  video = null;
  analysis = null;
  player.close();
  $("detail").hidden = true;
}

function show(found) {
  const another = video?.id !== found.id;
  video = found;
  $("title").textContent = video.filename;
  $("facts").textContent = [
    video.width ? `${video.width} × ${video.height}` : null,
    video.codec?.toUpperCase(),
    video.duration === null ? null : clock(video.duration),
    bytes(video.size),
    `added ${when(video.created_at)}`,
  ].filter(Boolean).join(" · ");
  $("download").href = media(`/videos/${video.id}/content`);
  $("download").setAttribute("download", video.filename);
  $("detail").hidden = false;
  if (another) {
    player.open(video);
    $("again-box").open = false;
    $("title").focus();
  }
  choose(another || !analysis ? video.analysis : history.find(({ id }) => id === analysis.id) ?? video.analysis);
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
  } else {
    analysis = changed;
    drawState();
  }
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
  if (focused) box.querySelector(`[data-action="${focused}"]`)?.focus();
}

function picker() {
  if (history.length < 2) return null;
  const select = make("select", { "aria-label": "Analysis to show", "data-action": "pick" },
    ...history.map((each) => make("option", { value: each.id, selected: each.id === analysis.id },
      `${when(each.requested_at)}, sensitivity ${each.parameters.sensitivity}`)));
  select.addEventListener("change", () => choose(history.find(({ id }) => id === select.value)));
  return select;
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
  const share = (name) => number(name) / 100;
  const whole = number("x") === 0 && number("y") === 0 && number("width") === 100 && number("height") === 100;
  const region = { x: share("x"), y: share("y"), width: share("width"), height: share("height") };
  const json = {
    sensitivity: number("sensitivity"),
    minimum_duration: number("minimum_duration"),
    frame_rate: number("frame_rate"),
    region: whole ? null : region,
  };
  try {
    showChanged(await call(`/videos/${video.id}/analyses`, { method: "POST", json }));
    $("again-box").open = false;
    $("state").scrollIntoView({ block: "nearest" });
  } catch (error) {
    showError(error);
  }
}

function fillSettings({ sensitivity, minimum_duration, frame_rate, region }) {
  if ($("again-box").open) return; // The user is editing it.
  const { elements } = $("again");
  elements.sensitivity.value = sensitivity;
  elements.shown.value = sensitivity.toFixed(2);
  elements.minimum_duration.value = minimum_duration;
  elements.frame_rate.value = frame_rate;
  const part = region ?? { x: 0, y: 0, width: 1, height: 1 };
  for (const name of ["x", "y", "width", "height"]) elements[name].value = Math.round(part[name] * 100);
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
