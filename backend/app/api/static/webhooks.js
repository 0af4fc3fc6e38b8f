// The page of webhooks and their deliveries: #webhooks. Loaded only if the service has them.
import { call, onRecovery } from "./api.js";
import { $, announce, confirmed, make, timeOfDay, when } from "./dom.js";

const HASH = "#webhooks";
const PAGE = 20;
const REFRESH_MS = 2000;
const EVENTS = {
  "video.stored": "A video was added",
  "video.deleted": "A video was deleted",
  "analysis.done": "An analysis is done",
  "analysis.failed": "An analysis has failed",
  "motion.found": "Motion was found",
};

const section = make("section", { id: "webhooks", "aria-labelledby": "webhooks-title", hidden: true });
const note = make("p", { class: "quiet", role: "status" });
const list = make("div", { class: "uploads" });
/** A new secret, until the view is left; null without one. */
let shown = null;
/** The webhook whose deliveries are open, how many are shown, and of which status. */
let open = null;
let timer = 0;

const here = () => window.location.hash === HASH;

export function installWebhooks() {
  document.head.append(make("link", { rel: "stylesheet", href: "/static/webhooks.css" }));
  document.querySelector(".top h1").after(make("a", { id: "webhooks-link", href: HASH }, "Webhooks"));
  section.append(
    make("a", { href: "#" }, "‹ All videos"),
    make("h2", { id: "webhooks-title", tabindex: "-1" }, "Webhooks"),
    make("p", { class: "quiet" }, "The service sends a signed message to these URLs when something happens."),
    note, list, createForm());
  document.querySelector("main").append(section);
  window.addEventListener("hashchange", route);
  onRecovery(route);
  route();
}

function route() {
  const wasHere = !section.hidden;
  document.body.classList.toggle("managing", here());
  section.hidden = !here();
  clearTimeout(timer);
  if (!here()) {
    shown = open = null;
    list.replaceChildren(); // A hidden view does not keep a secret, nor buttons that a returning user could press.
    return;
  }
  if (!wasHere) $("webhooks-title").focus();
  refresh();
}

function createForm() {
  const boxes = Object.entries(EVENTS).map(([name, text]) => make("label", {},
    make("input", { type: "checkbox", name: "events", value: name, checked: true }),
    make("span", {}, text, " ", make("code", {}, name))));
  return make("details", { class: "box", id: "webhook-new" },
    make("summary", {}, "Add a webhook"),
    make("form", { class: "settings", onsubmit: create },
      make("label", {}, "URL", make("input", { name: "url", type: "url", required: true, maxlength: 2000, placeholder: "https://…" })),
      make("fieldset", {}, make("legend", {}, "Tell it when"), ...boxes),
      make("button", { class: "main" }, "Add")));
}

async function create(submitted) {
  submitted.preventDefault();
  const form = submitted.target;
  const data = new FormData(form);
  await act(async () => {
    show(await call("/webhooks", { method: "POST", json: { url: data.get("url"), events: data.getAll("events") } }));
    form.reset();
    form.parentElement.open = false;
  }, "Webhook added.");
}

function show({ id, secret }) {
  shown = { id, secret };
}

/** Do something, say how it went, and show the result. */
async function act(action, done) {
  note.textContent = "";
  try {
    await action();
    announce(done);
  } catch (error) {
    note.textContent = error.message;
  }
  await refresh();
}

/** Show the current state, and again after a while as long as something is pending. */
async function refresh() {
  clearTimeout(timer);
  let page = null;
  let webhooks;
  try {
    ({ webhooks } = await call("/webhooks"));
    if (!webhooks.some(({ id }) => id === open?.id)) open = null;
    if (open) page = await call(deliveriesOf(open));
  } catch (error) {
    note.textContent = error.message;
    return;
  }
  if (!here()) return;
  draw(webhooks, page);
  if (page?.deliveries.some(({ status }) => status === "pending")) timer = setTimeout(refresh, REFRESH_MS);
}

function deliveriesOf({ id, limit, status }) {
  const query = new URLSearchParams({ limit });
  if (status) query.set("status", status);
  return `/webhooks/${id}/deliveries?${query}`;
}

function draw(webhooks, page) {
  const focused = document.activeElement?.dataset?.key;
  list.replaceChildren(...webhooks.map((webhook) => article(webhook, open?.id === webhook.id ? page : null)));
  if (!webhooks.length) list.replaceChildren(make("p", { class: "quiet" }, "There are no webhooks yet."));
  if (focused) list.querySelector(`[data-key="${focused}"]`)?.focus();
}

function article(webhook, page) {
  const { id, url, status, reason, events, failing_since: failing, previous_secret_until: previous } = webhook;
  const active = status === "active";
  const path = `/webhooks/${id}`;
  const button = (name, text, action, properties = {}) => make("button", {
    type: "button", "data-key": `${name}-${id}`, onclick: action, ...properties,
  }, text);
  return make("article", { "data-id": id },
    make("div", { class: "heading" }, make("h3", {}, url), make("span", { class: "badge", "data-status": status }, status)),
    make("p", { class: "quiet" }, events.join(", ")),
    reason ? make("p", { class: "bad" }, reason) : null,
    active && failing ? make("p", { class: "bad" }, `Every attempt has failed since ${when(failing)}.`) : null,
    previous && new Date(previous) > new Date()
      ? make("p", { class: "quiet" }, `The previous secret is used, too, until ${when(previous)}.`) : null,
    shown?.id === id ? make("div", { class: "note secret" },
      make("strong", {}, "Copy the secret now. It is not shown again."), make("code", {}, shown.secret)) : null,
    make("p", { class: "actions" },
      button("open", "Deliveries", () => toggle(id), { "aria-expanded": String(Boolean(page)) }),
      active ? button("test", "Send a test", () => sendTest(id)) : null,
      button("enable", active ? "Disable" : "Enable", () => act(
        () => call(path, { method: "PATCH", json: { enabled: !active } }), active ? "Disabled." : "Enabled.")),
      button("rotate", "New secret", () => act(
        async () => show(await call(`${path}/secret`, { method: "POST", json: {} })), "The secret was replaced.")),
      button("delete", "Delete", () => remove(id, url), { class: "danger" })),
    page ? deliveries(webhook, page) : null);
}

function toggle(id) {
  open = open?.id === id ? null : { id, limit: PAGE, status: "" };
  refresh();
}

function sendTest(id) {
  open = { id, limit: PAGE, status: "" };
  act(() => call(`/webhooks/${id}/test`, { method: "POST" }), "The test is being sent.");
}

async function remove(id, url) {
  if (!await confirmed(`Delete the webhook to ${url} and its deliveries?`)) return;
  await act(() => call(`/webhooks/${id}`, { method: "DELETE" }), "Webhook deleted.");
  $("webhooks-title").focus();
}

function deliveries({ id, status }, { deliveries: found, next_cursor: more }) {
  const choose = make("select", {
    "aria-label": "Status of the deliveries", "data-key": `status-${id}`,
    onchange: ({ target }) => { open = { id, limit: PAGE, status: target.value }; refresh(); },
  }, ...["", "pending", "delivered", "failed"].map((value) => make("option", { value, selected: value === open.status }, value || "any status")));
  const heads = ["Event", "Status", "Attempts", "Response", "Time", "Last attempt", "Next attempt", ""];
  return make("div", { class: "table" }, choose,
    make("table", { "aria-label": "Deliveries" },
      make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, ...found.map((delivery) => row(id, status, delivery)))),
    found.length ? null : make("p", { class: "quiet" }, "Nothing was sent yet."),
    more && open.limit < 100 ? make("button", {
      type: "button", "data-key": `more-${id}`, onclick: () => { open.limit = 100; refresh(); },
    }, "Show more") : null);
}

function row(webhook, state, delivery) {
  const { id, event, status, attempts, error, created_at: created } = delivery;
  const { attempted_at: attempted, next_attempt_at: next, response_status: code, response_time: seconds } = delivery;
  const cell = (...children) => make("td", {}, ...children);
  return make("tr", { title: delivery.message_id },
    cell(make("div", {}, event), make("div", { class: "quiet" }, timeOfDay(created))),
    cell(make("span", { class: "badge", "data-status": status }, status)),
    cell(String(attempts)),
    cell(error ? make("span", { class: "bad" }, error) : code === null ? "" : String(code)),
    cell(seconds === null ? "" : make("span", { class: "short" }, `${seconds.toFixed(2)} s`)),
    cell(attempted ? timeOfDay(attempted) : ""),
    cell(next && state === "active" ? timeOfDay(next) : ""),
    cell(state === "active" ? make("button", {
      type: "button", "data-key": `again-${id}`, "aria-label": `Send ${event} again`,
      onclick: () => act(() => call(`/webhooks/${webhook}/deliveries/${id}/redeliver`, { method: "POST" }), "It is being sent again."),
    }, status === "pending" ? "Send now" : "Send again") : null));
}
