// The player: the original video with bounding boxes, or event clips if the browser cannot play it.
import { call, media } from "./api.js";
import { $, makeSvg } from "./dom.js";

// Boxes are known for a few frames per second; in between they are interpolated.
const BOX_LIFE_S = 0.35;

let events = [];
let region = null;
/** Offset of the player's times: 0, or the start of the clip being played. */
let offset = 0;
let playable = true;
let onTime = () => {};
let target = 0;

/** Call `action(seconds)` while the video plays or is seeked. */
export function installPlayer(action) {
  onTime = action;
  const player = $("player");
  for (const name of ["timeupdate", "seeked", "loadedmetadata"]) player.addEventListener(name, follow);
  player.addEventListener("error", onError);
  new ResizeObserver(drawBoxes).observe(player);
  if ("requestVideoFrameCallback" in player) {
    const eachFrame = () => {
      drawBoxes();
      player.requestVideoFrameCallback(eachFrame);
    };
    player.requestVideoFrameCallback(eachFrame);
  }
}

export function open(video) {
  const player = $("player");
  events = [];
  region = null;
  offset = 0;
  playable = true;
  $("unplayable").hidden = true;
  player.poster = media(`/videos/${video.id}/thumbnail?width=640`);
  player.src = media(`/videos/${video.id}/content`);
}

export function close() {
  const player = $("player");
  player.pause();
  player.removeAttribute("src");
  player.load();
}

export function showFindings(found, part) {
  events = found;
  region = part;
  drawBoxes();
}

/** Seek to a time and optionally start playing. */
export async function goTo(seconds, { play = false } = {}) {
  const player = $("player");
  target = seconds;
  if (!playable) {
    const event = events.find(({ start, end }) => seconds >= start - 0.01 && seconds <= end + 0.01);
    if (event) playClip(event);
    return;
  }
  player.currentTime = seconds - offset;
  onTime(seconds);
  if (play) await player.play().catch(() => null); // May require a user gesture; the controls remain.
}

function playClip(event) {
  const player = $("player");
  offset = event.start;
  player.poster = media(`/events/${event.id}/thumbnail?width=640`);
  player.src = media(`/events/${event.id}/clip`);
  player.play().catch(() => null);
}

async function onError() {
  const player = $("player");
  if (!player.getAttribute("src") || !playable) return;
  // Browsers do not report the reason: the session may have expired, or the service may be down.
  const id = player.getAttribute("src").split("/").at(-2);
  try {
    await call(`/videos/${id}`);
  } catch {
    return; // Already reported by `call`.
  }
  playable = false;
  $("unplayable").hidden = false;
}

function follow() {
  const seconds = $("player").currentTime + offset;
  onTime(Number.isFinite(seconds) ? seconds : target);
  drawBoxes();
}

function drawBoxes() {
  const player = $("player");
  const overlay = $("overlay");
  const shapes = region ? [rectangle(region, "region")] : [];
  if (playable && player.videoWidth) {
    const now = player.currentTime;
    for (const { boxes } of events) shapes.push(...boxesAt(boxes, now).map((box) => rectangle(box, "moving")));
  }
  overlay.replaceChildren(...shapes);
  alignOverlay(overlay, player);
}

/** Return the boxes at a time: the last known ones; a single box is interpolated to the next. */
function boxesAt(boxes, now) {
  const times = [...new Set(boxes.map(({ time }) => time))];
  const before = times.findLast((time) => time <= now);
  if (before === undefined || now - before > BOX_LIFE_S) return [];
  const last = boxes.filter(({ time }) => time === before);
  const after = times[times.indexOf(before) + 1];
  const next = boxes.filter(({ time }) => time === after);
  if (last.length !== 1 || next.length !== 1 || after - before > BOX_LIFE_S) return last;
  const share = (now - before) / (after - before);
  const between = (name) => last[0][name] + (next[0][name] - last[0][name]) * share;
  return [{ x: between("x"), y: between("y"), width: between("width"), height: between("height") }];
}

const rectangle = ({ x, y, width, height }, name) => makeSvg("rect", { class: name, x, y, width, height });

/** Align the overlay with the video frame, which may be smaller than the player. */
function alignOverlay(overlay, player) {
  const frame = player.getBoundingClientRect();
  const stage = $("stage").getBoundingClientRect();
  const ratio = player.videoWidth / player.videoHeight || 16 / 9;
  const width = Math.min(frame.width, frame.height * ratio);
  const height = width / ratio;
  const style = overlay.style;
  style.setProperty("width", `${width}px`);
  style.setProperty("height", `${height}px`);
  style.setProperty("left", `${frame.left - stage.left + (frame.width - width) / 2}px`);
  style.setProperty("top", `${frame.top - stage.top + (frame.height - height) / 2}px`);
}
