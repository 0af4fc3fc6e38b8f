// The results of an analysis: clickable events with thumbnails, the timeline, and files to save.
import { call, media } from "./api.js";
import { captionLine, followCaptions, showCaption, stopFollowing } from "./captions.js";
import { $, clock, make, percent, timeOfDay } from "./dom.js";
import { goTo, showFindings } from "./player.js";
import * as route from "./route.js";
import { drawTimeline, hideTimeline } from "./timeline.js";

let current = null;
let cursor = null;
let events = [];
/** The pages of events that are loaded, each with its path. */
let pages = [];
let timeline = null;
/** Id of the selected event, which may not be loaded yet. */
let selected = null;

export function installFindings() {
  $("more-events").addEventListener("click", async () => {
    const known = events.length;
    await loadEvents(current);
    $("events").children[known]?.querySelector("button").focus();
  });
}

/** Show only a message, for an analysis that is not done. */
export function clearFindings(text) {
  current = null;
  events = [];
  pages = [];
  timeline = null;
  cursor = null;
  stopFollowing();
  $("events").replaceChildren();
  $("events-note").textContent = text;
  $("more-events").hidden = true;
  $("exports").hidden = true;
  hideTimeline();
  showFindings([], null);
}

/** Load events and timeline of an analysis that is done. */
export async function loadFindings(analysis) {
  if (current?.id === analysis.id) return;
  clearFindings("Loading events …");
  current = analysis;
  try {
    const response = await call(`/analyses/${analysis.id}/timeline`);
    if (current !== analysis) return;
    timeline = response;
    await loadEvents(analysis);
  } catch (error) {
    if (current === analysis) clearFindings(error.message);
  }
}

async function loadEvents(analysis) {
  const query = new URLSearchParams({ limit: 100 });
  if (cursor) query.set("cursor", cursor);
  const path = `/analyses/${analysis.id}/events?${query}`;
  const page = await call(path);
  if (current !== analysis) return;
  events.push(...page.events);
  pages.push({ path, events: page.events });
  cursor = page.next_cursor;
  $("events").append(...page.events.map(row));
  $("more-events").hidden = cursor === null;
  const count = analysis.event_count ?? events.length;
  $("events-note").textContent = count
    ? `${count === 1 ? "1 event" : `${count} events`}. Select one to play it.`
    : "No motion was detected with these settings.";
  $("exports").hidden = !count;
  for (const kind of ["csv", "json"]) $(`export-${kind}`).href = media(`/analyses/${analysis.id}/events.${kind}`);
  drawTimeline(timeline, events, analysis.result?.duration);
  showFindings(events, analysis.parameters);
  markSelected();
  followCaptions(pages, (event) => showCaption($("events").children[event.position], event));
}

/** Show the event of this id as selected, whenever it is loaded. */
export function select(id) {
  selected = id;
  markSelected();
}

function markSelected() {
  for (const button of $("events").querySelectorAll("button")) {
    if (button.dataset.event === selected) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

function row(event) {
  const span = `${clock(event.start, { tenths: true })} – ${clock(event.end, { tenths: true })}`;
  const button = make("button", {
    type: "button",
    class: "event",
    "data-event": event.id,
    "aria-label": `Event ${event.position + 1}, from ${clock(event.start)} to ${clock(event.end)}`,
    onclick: () => {
      select(event.id);
      route.replace(route.link({ video: current.video_id, event: event.id }));
      $("stage").scrollIntoView({ block: "nearest" });
      goTo(event.start, { play: true });
    },
  },
  make("img", { src: media(`/events/${event.id}/thumbnail`), alt: "", width: 320, height: 180, loading: "lazy" }),
  make("span", {}, span),
  event.started_at ? make("span", { class: "quiet" }, timeOfDay(event.started_at)) : null,
  make("span", { class: "quiet" }, `up to ${percent(event.peak_score)} of the frame`));
  return make("li", {}, button, captionLine(event),
    make("a", { href: media(`/events/${event.id}/clip`), download: `event-${event.position + 1}.mp4` }, "Save clip"));
}
