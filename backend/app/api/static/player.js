// The player: the original video with bounding boxes; a preview if browsers cannot play the original; without
// one, clips of the events and still pictures.
import { call, media } from "./api.js";
import { $, isUnfinished, makeSvg } from "./dom.js";

// Boxes are known for a few frames per second; in between they are interpolated.
const BOX_LIFE_S = 0.35;
// A clip begins this long before its event.
const CLIP_MARGIN_S = 1;
const STILL_MS = 150;
const UNPLAYABLE = "Your browser cannot play the original video.";

let video = null;
let events = [];
let areas = { zones: [], masks: [] };
/** Offset of the player's times: 0, or the start of the clip being played. */
let offset = 0;
/** "original", "preview", or "stills" if neither can be played. */
let source = "original";
let onTime = () => {};
let target = 0;
let still = null;

/** Call `action(seconds)` while the video plays or is seeked. */
export function installPlayer(action) {
  onTime = action;
  const player = $("player");
  for (const name of ["timeupdate", "seeked", "loadedmetadata"]) player.addEventListener(name, follow);
  player.addEventListener("error", onError);
  // A browser drops a track that it cannot decode without an error: sound over a black frame.
  player.addEventListener("loadedmetadata", () => {
    if (!player.videoWidth) giveUp();
  });
  new ResizeObserver(drawBoxes).observe(player);
  if ("requestVideoFrameCallback" in player) {
    const eachFrame = () => {
      drawBoxes();
      player.requestVideoFrameCallback(eachFrame);
    };
    player.requestVideoFrameCallback(eachFrame);
  }
}

export function open(found) {
  video = found;
  events = [];
  areas = { zones: [], masks: [] };
  target = 0;
  onTime(0);
  $("player").poster = media(`/videos/${video.id}/thumbnail?width=640`);
  load(video.playable === false && video.has_preview ? "preview" : "original");
}

/** Take over what the analysis has added to the video. */
export function refresh(found) {
  const added = found.has_preview && !video?.has_preview;
  video = found;
  if (added && (source === "stills" || video.playable === false)) {
    const at = target;
    load("preview");
    goTo(at);
  }
}

function load(kind) {
  source = kind;
  offset = 0;
  $("unplayable").hidden = true;
  $("player").src = media(`/videos/${video.id}/${kind === "preview" ? "preview" : "content"}`);
}

export function close() {
  video = null;
  unload();
}

function unload() {
  const player = $("player");
  player.pause();
  player.removeAttribute("src");
  player.load();
}

/** Show the events of an analysis and the areas that it watched and left out. */
export function showFindings(found, parameters) {
  events = found;
  areas = areasOf(parameters);
  if (source === "stills") explain();
  drawBoxes();
}

/** The zones and masks of an analysis. */
export function areasOf(parameters) {
  const region = parameters?.region ? [parameters.region] : [];
  return { zones: parameters?.zones ?? region, masks: parameters?.masks ?? [] };
}

/** Seek to a time and optionally start playing. */
export async function goTo(seconds, { play = false } = {}) {
  const player = $("player");
  target = seconds;
  onTime(seconds);
  if (source === "stills") {
    const event = events.find(({ start, end }) => seconds >= start - 0.01 && seconds <= end + 0.01);
    if (event) playClip(event);
    else showStill();
    return;
  }
  player.currentTime = seconds - offset;
  if (play) await player.play().catch(() => null); // May require a user gesture; the controls remain.
}

/** The time that is shown. */
export const now = () => target;

function playClip(event) {
  const player = $("player");
  offset = Math.max(0, event.start - CLIP_MARGIN_S);
  player.poster = media(`/events/${event.id}/thumbnail?width=640`);
  player.src = media(`/events/${event.id}/clip`);
  player.play().catch(() => null);
}

/** Show the picture at the target; while the user drags, only where it stops. */
function showStill() {
  clearTimeout(still);
  still = setTimeout(() => {
    if (source !== "stills" || !video) return;
    unload();
    $("player").poster = media(`/videos/${video.id}/thumbnail?time=${target.toFixed(1)}&width=640`);
  }, STILL_MS);
}

async function onError() {
  if (!video || !$("player").getAttribute("src") || source === "stills") return;
  // Browsers do not report the reason: the session may have expired, or the service may be down.
  const { id } = video;
  try {
    await call(`/videos/${id}`);
  } catch {
    return; // Already reported by `call`.
  }
  if (video?.id === id) giveUp();
}

/** The browser cannot play the current source. */
function giveUp() {
  if (source === "stills") return;
  const at = target;
  if (source === "original" && video.has_preview) {
    load("preview");
  } else {
    source = "stills";
    unload();
    explain();
  }
  if (at) goTo(at);
}

function explain() {
  const coming = video.playable === false && isUnfinished(video.analysis);
  const later = coming ? " A copy that it can play is made by the analysis." : "";
  const clips = events.length ? " The clips of its events can be played." : "";
  $("unplayable").textContent = `${UNPLAYABLE}${later}${clips} The timeline shows still pictures.`;
  $("unplayable").hidden = false;
}

function follow() {
  const player = $("player");
  if (player.readyState && Number.isFinite(player.currentTime)) target = player.currentTime + offset;
  onTime(target);
  drawBoxes();
}

function drawBoxes() {
  const player = $("player");
  const overlay = $("overlay");
  const shapes = [
    ...areas.zones.map((each) => areaShape(each, "region")),
    ...areas.masks.map((each) => areaShape(each, "mask")),
  ];
  if (source !== "stills" && player.videoWidth) {
    for (const { boxes } of events) shapes.push(...boxesAt(boxes, player.currentTime).map((box) => areaShape(box, "moving")));
  }
  overlay.replaceChildren(...shapes);
  alignOverlay(overlay, player);
}

/** Return the boxes at a time: the last known ones; a single box is interpolated to the next. */
function boxesAt(boxes, seconds) {
  const times = [...new Set(boxes.map(({ time }) => time))];
  const before = times.findLast((time) => time <= seconds);
  if (before === undefined || seconds - before > BOX_LIFE_S) return [];
  const last = boxes.filter(({ time }) => time === before);
  const after = times[times.indexOf(before) + 1];
  const next = boxes.filter(({ time }) => time === after);
  if (last.length !== 1 || next.length !== 1 || after - before > BOX_LIFE_S) return last;
  const share = (seconds - before) / (after - before);
  const between = (name) => last[0][name] + (next[0][name] - last[0][name]) * share;
  return [{ x: between("x"), y: between("y"), width: between("width"), height: between("height") }];
}

/** A rectangle or polygon, in fractions of the frame. */
export function areaShape({ points, x, y, width, height }, name) {
  return points
    ? makeSvg("polygon", { class: name, points: points.map((point) => point.join(",")).join(" ") })
    : makeSvg("rect", { class: name, x, y, width, height });
}

/** Align the overlay with the video frame, which may be smaller than the player. */
function alignOverlay(overlay, player) {
  const frame = player.getBoundingClientRect();
  const stage = $("stage").getBoundingClientRect();
  const shown = video?.display_width / video?.display_height || 16 / 9;
  const ratio = player.videoWidth / player.videoHeight || shown;
  const width = Math.min(frame.width, frame.height * ratio);
  const height = width / ratio;
  const style = overlay.style;
  style.setProperty("width", `${width}px`);
  style.setProperty("height", `${height}px`);
  style.setProperty("left", `${frame.left - stage.left + (frame.width - width) / 2}px`);
  style.setProperty("top", `${frame.top - stage.top + (frame.height - height) / 2}px`);
}
