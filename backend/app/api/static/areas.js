// The editor for areas to watch and to leave out: drawn on a picture of the video, or typed in percent.
import { media } from "./api.js";
import { $, announce, make, makeSvg } from "./dom.js";
import { areaShape, areasOf, now } from "./player.js";

const NAMES = { zone: "Watch", mask: "Leave out" };
const FIELDS = [["x", "Left"], ["y", "Top"], ["width", "Width"], ["height", "Height"]];
const SMALLEST = 0.01;
const MOST_POINTS = 32;

let areas = [];
/** Corners of the polygon being drawn. */
let corners = [];
let start = null;
let dragged = null;
/** Services of older versions know one rectangle to watch, and nothing else. */
let several = true;

export function installAreas() {
  const canvas = $("canvas");
  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    if (chosen("shape") === "polygon") return;
    canvas.setPointerCapture(event.pointerId);
    start = pointAt(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!start) return;
    dragged = between(start, pointAt(event));
    draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (chosen("shape") === "polygon") addCorner(pointAt(event));
    else if (start) {
      const area = between(start, pointAt(event));
      if (area.width >= SMALLEST && area.height >= SMALLEST) addArea(area);
    }
    cancelDrag();
  });
  canvas.addEventListener("pointercancel", cancelDrag);
  $("add-area").addEventListener("click", () => {
    addArea({ x: 0, y: 0, width: 1, height: 1 });
    $("area-list").lastElementChild.querySelector("input").focus();
  });
  $("close-area").addEventListener("click", closePolygon);
  $("again").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !corners.length) return;
    corners = [];
    draw();
  });
}

/** Show a picture of the video at the current time. */
export function showPicture(video) {
  $("canvas-picture")?.remove();
  const src = media(`/videos/${video.id}/thumbnail?time=${now().toFixed(1)}&width=640`);
  $("canvas").prepend(make("img", { id: "canvas-picture", src, alt: "" }));
}

export function fillAreas(parameters) {
  several = "zones" in parameters;
  for (const each of document.querySelectorAll(".several")) each.hidden = !several;
  const { zones, masks } = areasOf(parameters);
  areas = [...zones.map((area) => ({ kind: "zone", area })), ...masks.map((area) => ({ kind: "mask", area }))];
  corners = [];
  list();
}

/** Return the parameters that name the areas. */
export function readAreas() {
  const of = (wanted) => areas.filter(({ kind }) => kind === wanted).map(({ area }) => area);
  return several ? { zones: of("zone"), masks: of("mask") } : { region: of("zone")[0] ?? null };
}

const chosen = (name) => (several ? new FormData($("again")).get(name) : { kind: "zone", shape: "rectangle" }[name]);

function pointAt(event) {
  const { left, top, width, height } = $("canvas").getBoundingClientRect();
  const share = (value) => Math.round(Math.min(1, Math.max(0, value)) * 1000) / 1000;
  return [share((event.clientX - left) / width), share((event.clientY - top) / height)];
}

function between([x0, y0], [x1, y1]) {
  const length = (from, to) => Math.round(Math.abs(to - from) * 1000) / 1000;
  return { x: Math.min(x0, x1), y: Math.min(y0, y1), width: length(x0, x1), height: length(y0, y1) };
}

function cancelDrag() {
  start = null;
  dragged = null;
  draw();
}

function addCorner(point) {
  const [first] = corners;
  const closes = first && corners.length > 2 && Math.hypot(point[0] - first[0], point[1] - first[1]) < 0.03;
  if (!closes) corners.push(point);
  if (closes || corners.length === MOST_POINTS) closePolygon();
  else draw();
}

function closePolygon() {
  if (corners.length > 2) addArea({ points: corners });
  corners = [];
  draw();
}

function addArea(area) {
  if (!several) areas = [];
  areas.push({ kind: chosen("kind"), area });
  announce(`Area ${areas.length} added.`);
  list();
}

function list() {
  $("area-list").replaceChildren(...areas.map((each, index) => row(each, index)));
  $("no-areas").hidden = areas.length > 0;
  draw();
}

function row(entry, index) {
  const { kind, area } = entry;
  const name = `${NAMES[kind]}, area ${index + 1}`;
  const fields = area.points
    ? [make("span", { class: "quiet" }, `${area.points.length} corners`)]
    : FIELDS.map(([field, label]) => make("label", {}, `${label} %`, make("input", {
      name: field, type: "number", min: field === "x" || field === "y" ? 0 : 1, max: 100, step: 0.1, required: true,
      value: Math.round(area[field] * 1000) / 10, "aria-label": `${name}: ${label} in percent`,
      oninput: ({ target }) => {
        area[field] = Number(target.value) / 100;
        draw();
      },
    })));
  const remove = make("button", { type: "button", class: "plain", "aria-label": `Remove: ${name}` }, "Remove");
  remove.addEventListener("click", () => {
    areas.splice(areas.indexOf(entry), 1);
    list();
    $("add-area").focus();
  });
  return make("li", {}, make("div", { class: "line" }, make("strong", { class: kind }, name), remove), make("div", { class: "region" }, ...fields));
}

function draw() {
  const shapes = areas.map(({ kind, area }) => areaShape(area, kind === "zone" ? "region" : "mask"));
  if (dragged) shapes.push(areaShape(dragged, "moving"));
  if (corners.length) {
    shapes.push(makeSvg("polyline", { class: "moving", points: corners.map((point) => point.join(",")).join(" ") }));
    shapes.push(...corners.map(([x, y]) => makeSvg("circle", { class: "corner", cx: x, cy: y, r: 0.012 })));
  }
  $("canvas-shapes").replaceChildren(...shapes);
  $("close-area").hidden = corners.length < 3;
}
