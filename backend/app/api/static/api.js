// Everything that is asked of the service: calls, their errors in words, and the API key.
import { $ } from "./dom.js";

const BASE = "/api/v1";
const STORED_KEY = "api-key";
const RETRY_MS = 3000;

/** What the service answered when it could not do what it was asked; the message is for people. */
export class Problem extends Error {
  constructor(status, problem) {
    const where = problem.errors?.map(({ where, what }) => `${where}: ${what}`).join("; ");
    super(where ?? problem.detail ?? problem.title ?? `The service answered with error ${status}.`);
    this.status = status;
  }
}

/** No answer at all. */
export class Unreachable extends Error {
  constructor() {
    super("The service does not answer.");
  }
}

const whenBack = new Set();
let waiting = false;

/** Calls `action` whenever the service answers again after it did not, or a key has been given. */
export function onReturn(action) {
  whenBack.add(action);
}

export const media = (path) => `${BASE}${path}`;

/** What a request needs so that it is let in; the key stays in this tab only. */
export function keyHeaders() {
  const key = sessionStorage.getItem(STORED_KEY);
  return key ? { "X-API-Key": key } : {};
}

export async function call(path, { method = "GET", json } = {}) {
  const headers = keyHeaders();
  if (json !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(media(path), { method, headers, body: json === undefined ? undefined : JSON.stringify(json) });
  } catch {
    serviceIsGone();
    throw new Unreachable();
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  if (response.status === 401) askForKey();
  throw await problemOf(response);
}

async function problemOf(response) {
  try {
    return new Problem(response.status, await response.json());
  } catch {
    return new Problem(response.status, {});
  }
}

/** Says so at the top, and looks every few seconds whether it is back. */
export function serviceIsGone() {
  if (waiting) return;
  waiting = true;
  const banner = $("banner");
  banner.textContent = "The service does not answer. Trying again every few seconds; nothing stored is lost.";
  banner.hidden = false;
  const look = async () => {
    try {
      await fetch("/health/live", { cache: "no-store" });
    } catch {
      setTimeout(look, RETRY_MS);
      return;
    }
    waiting = false;
    banner.hidden = true;
    returned();
  };
  setTimeout(look, RETRY_MS);
}

function returned() {
  for (const action of whenBack) action();
}

export function askForKey() {
  const dialog = $("key-dialog");
  if (dialog.open) return;
  if (sessionStorage.getItem(STORED_KEY)) {
    $("key-reason").textContent = "The service does not know this key, or it has been revoked.";
  }
  dialog.showModal();
}

/** Pictures, video and live progress cannot carry a header; for them the key is exchanged for a cookie. */
export async function startSession() {
  if (!sessionStorage.getItem(STORED_KEY)) return;
  $("sign-out").hidden = false;
  try {
    await call("/session", { method: "POST" });
  } catch {
    return; // Said at the top or asked for by `call`; the next call tells again.
  }
}

export function installKeyDialog() {
  $("key-form").addEventListener("submit", async () => {
    sessionStorage.setItem(STORED_KEY, $("key").value.trim());
    $("key").value = "";
    await startSession();
    returned();
  });
  $("sign-out").addEventListener("click", async () => {
    await call("/session", { method: "DELETE" }).catch(() => null);
    sessionStorage.removeItem(STORED_KEY);
    window.location.reload();
  });
}

/** One line about the service's own state. */
export async function showHealth() {
  let health;
  try {
    health = await (await fetch("/health", { cache: "no-store" })).json();
  } catch {
    serviceIsGone();
    return;
  }
  const failed = Object.entries(health.checks).filter(([, check]) => check.status !== "ok");
  $("service").textContent = failed.length
    ? `Trouble: ${failed.map(([name, check]) => `${name} (${check.detail})`).join(", ")}`
    : `Version ${health.version}`;
}
