// The activity timeline: a chart of motion over time that is also a seek slider.
import { $, clock, makeSvg } from "./dom.js";

const HEIGHT = 100;
const STEP_S = 1;
const PAGE_S = 10;

let duration = 0;
let seek = () => {};
let playhead = null;
let shown = 0;

/** Call `action(seconds)` when the user seeks with the pointer or the keyboard. */
export function installTimeline(action) {
  seek = action;
  const slider = $("timeline");
  slider.addEventListener("pointerdown", (event) => {
    slider.setPointerCapture(event.pointerId);
    seek(timeAt(event));
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) seek(timeAt(event));
  });
  slider.addEventListener("keydown", (event) => {
    const now = Number(slider.getAttribute("aria-valuenow"));
    const targets = {
      ArrowLeft: now - STEP_S, ArrowDown: now - STEP_S, ArrowRight: now + STEP_S, ArrowUp: now + STEP_S,
      PageDown: now - PAGE_S, PageUp: now + PAGE_S, Home: 0, End: duration,
    };
    if (!(event.key in targets)) return;
    event.preventDefault();
    seek(Math.min(duration, Math.max(0, targets[event.key])));
  });
}

function timeAt(event) {
  const { left, width } = $("timeline").getBoundingClientRect();
  return Math.min(1, Math.max(0, (event.clientX - left) / width)) * duration;
}

/** Draw the scores (one per `bucket` seconds) and mark the events. */
export function drawTimeline({ bucket, scores }, events, length) {
  duration = Math.max(length ?? 0, scores.length * bucket, 0.001);
  const peak = Math.max(0.01, ...scores);
  // Square root scale, so that small motion, such as a distant person, remains visible.
  const bars = scores.map((score, index) => {
    const height = Math.sqrt(score / peak) * HEIGHT * 0.92;
    return height < 0.5 ? "" : `M${index * bucket} ${HEIGHT}v${-height.toFixed(1)}h${bucket}V${HEIGHT}`;
  });
  playhead = makeSvg("line", { class: "playhead", y1: 0, y2: HEIGHT, x1: 0, x2: 0 });
  const drawing = makeSvg("svg", { viewBox: `0 0 ${duration} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    ...events.map(({ start, end }) =>
      makeSvg("rect", { class: "found", x: start, y: 0, width: Math.max(end - start, duration / 300), height: HEIGHT })),
    makeSvg("path", { class: "motion", d: bars.join("") }),
    playhead);
  const slider = $("timeline");
  slider.replaceChildren(drawing);
  slider.setAttribute("aria-valuemin", 0);
  slider.setAttribute("aria-valuemax", duration.toFixed(1));
  slider.hidden = false;
  showTime(shown);
}

export function hideTimeline() {
  $("timeline").hidden = true;
  $("timeline").replaceChildren();
  playhead = null;
}

/** Move the playhead. */
export function showTime(seconds) {
  shown = seconds;
  if (!playhead) return;
  playhead.setAttribute("x1", seconds);
  playhead.setAttribute("x2", seconds);
  $("timeline").setAttribute("aria-valuenow", seconds.toFixed(1));
  $("timeline").setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(duration)}`);
}
