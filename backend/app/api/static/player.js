// The player: the original with boxes around what moves, or, where a browser cannot play it, the events' clips.
import { call, media } from "./api.js";
import { $, makeSvg } from "./dom.js";

// Boxes were measured a few times per second; in between they are thought of as moving evenly.
const BOX_LIFE_S = 0.35;

let events = [];
let region = null;
/** What the times of the player count from: 0, or the start of the clip that is shown instead. */
let offset = 0;
let playable = true;
let moved = () => {};
let wanted = 0;

/** `action(seconds)` is called as the video plays or is moved. */
export function installPlayer(action) {
  moved = action;
  const player = $("player");
  for (const name of ["timeupdate", "seeked", "loadedmetadata"]) player.addEventListener(name, follow);
  player.addEventListener("error", cannotPlay);
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

/** Goes to a moment, and plays from there if asked to. */
export async function goTo(seconds, { play = false } = {}) {
  const player = $("player");
  wanted = seconds;
  if (!playable) {
    const event = events.find(({ start, end }) => seconds >= start - 0.01 && seconds <= end + 0.01);
    if (event) playClip(event);
    return;
  }
  player.currentTime = seconds - offset;
  moved(seconds);
  if (play) await player.play().catch(() => null); // Refused without a gesture: the controls are there.
}

function playClip(event) {
  const player = $("player");
  offset = event.start;
  player.poster = media(`/events/${event.id}/thumbnail?width=640`);
  player.src = media(`/events/${event.id}/clip`);
  player.play().catch(() => null);
}

async function cannotPlay() {
  const player = $("player");
  if (!player.getAttribute("src") || !playable) return;
  // A browser does not say why it failed: a key may have run out, or the service be away.
  const id = player.getAttribute("src").split("/").at(-2);
  try {
    await call(`/videos/${id}`);
  } catch {
    return; // Said elsewhere.
  }
  playable = false;
  $("unplayable").hidden = false;
}

function follow() {
  const seconds = $("player").currentTime + offset;
  moved(Number.isFinite(seconds) ? seconds : wanted);
  drawBoxes();
}

function drawBoxes() {
  const player = $("player");
  const overlay = $("overlay");
  const shapes = region ? [rectangle(region, "region")] : [];
  if (playable && player.videoWidth) {
    const now = player.currentTime;
    for (const { boxes } of events) shapes.push(...at(boxes, now).map((box) => rectangle(box, "moving")));
  }
  overlay.replaceChildren(...shapes);
  place(overlay, player);
}

/** Where things are at a moment: as last measured, or, of one thing, between that and the next measurement. */
function at(boxes, now) {
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

/** Lays the drawing over the picture itself, which may be narrower or lower than the player. */
function place(overlay, player) {
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
