// When the service will remove a video by itself, and the switch that keeps it.
import { call } from "./api.js";
import { $, announce, make, when } from "./dom.js";

let shown = null;

/** Show it below the facts of a video. */
export async function showRetention(id) {
  shown = id;
  const box = $("retention") ?? $("facts").insertAdjacentElement("afterend", make("p", { id: "retention", class: "quiet" }));
  let state;
  try {
    state = await call(`/videos/${id}/retention`);
  } catch {
    state = null; // `call` has shown why, or the video has just been removed.
  }
  if (shown === id) draw(box, id, state);
}

function draw(box, id, state) {
  if (!state) {
    box.replaceChildren();
    return;
  }
  const { pinned, remove_at: removeAt } = state;
  let text = "May be removed when space is needed. ";
  if (pinned) text = "Kept until somebody deletes it. ";
  else if (removeAt && new Date(removeAt) <= new Date()) text = "Will be removed soon. ";
  else if (removeAt) text = `Will be removed on ${when(removeAt)}. `;
  const button = make("button", { type: "button", id: "pin", onclick: () => pin(box, id, !pinned) }, pinned ? "Do not keep" : "Keep");
  box.replaceChildren(text, button);
}

async function pin(box, id, pinned) {
  let state;
  try {
    state = await call(`/videos/${id}/retention`, { method: "PUT", json: { pinned } });
  } catch (error) {
    box.append(make("span", { class: "reason", role: "alert" }, ` ${error.message}`));
    return;
  }
  if (shown !== id) return;
  draw(box, id, state);
  announce(box.firstChild.textContent);
  $("pin").focus();
}
