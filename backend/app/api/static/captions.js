// Captions of events, if the service has any: shown as text, followed until none is pending.
import { call } from "./api.js";
import { $, make } from "./dom.js";

const FIRST_MS = 2000;
const LAST_MS = 60000;

let timer = null;
/** Increases with every list of events, so that answers about an earlier one are dropped. */
let round = 0;

/** Offer the search only where it finds something. */
export function installCaptions() {
  const field = $("filters").elements.caption;
  const enabled = "captions" in document.body.dataset;
  field.hidden = !enabled;
  field.disabled = !enabled;
}

/** The line below an event; null without captions. The language is unknown, and so its direction. */
export function captionLine(event) {
  if (!event.caption) return null;
  const line = make("p", { class: "caption", dir: "auto" });
  fill(line, event.caption);
  return line;
}

function fill(line, { status, text, reason }) {
  const without = {
    pending: "",
    refused: `No caption: declined (${reason}).`,
    empty: "No caption: the answer was empty.",
    failed: `No caption. ${reason}`,
  };
  line.dataset.status = status;
  line.textContent = text ?? without[status] ?? "";
}

export function showCaption(item, event) {
  fill(item.querySelector(".caption"), event.caption);
}

export function stopFollowing() {
  clearTimeout(timer);
  round += 1;
}

/** Read pages of events again, ever more rarely, until no caption is pending; `show` each that arrives. */
export function followCaptions(pages, show) {
  stopFollowing();
  const mine = round;
  const isPending = ({ caption }) => caption?.status === "pending";
  let wait = FIRST_MS;
  const look = async () => {
    let arrived = false;
    for (const { path, events } of pages) {
      if (document.hidden || !events.some(isPending)) continue;
      const page = await call(path).catch(() => null);
      if (mine !== round) return;
      for (const { id, caption } of page?.events ?? []) {
        const known = events.find((each) => each.id === id);
        if (!known || !isPending(known) || isPending({ caption })) continue;
        known.caption = caption;
        show(known);
        arrived = true;
      }
    }
    wait = arrived ? FIRST_MS : Math.min(wait * 1.5, LAST_MS);
    schedule();
  };
  const schedule = () => {
    if (pages.some(({ events }) => events.some(isPending))) timer = setTimeout(look, wait);
  };
  schedule();
}
