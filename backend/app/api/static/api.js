// The client of the service: requests, error messages, and the API key.
import { $ } from "./dom.js";

const BASE = "/api/v1";
const STORED_KEY = "api-key";
const RETRY_MS = 3000;

/** An error response of the service; the message is shown to the user. */
export class Problem extends Error {
  constructor(status, problem) {
    const where = problem.errors?.map(({ where, what }) => `${where}: ${what}`).join("; ");
    super(where ?? problem.detail ?? problem.title ?? `The service responded with error ${status}.`);
    this.status = status;
  }
}

/** No response at all. */
export class Unreachable extends Error {
  constructor() {
    super("The service is not responding.");
  }
}

const recoveryCallbacks = new Set();
let waiting = false;

/** Call `action` whenever the service responds again after an outage, or a key has been entered. */
export function onRecovery(action) {
  recoveryCallbacks.add(action);
}

export const media = (path) => `${BASE}${path}`;

/** Authentication headers; the key is kept in this tab only. */
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
    reportOutage();
    throw new Unreachable();
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  if (response.status === 401) askForKey();
  throw await readProblem(response);
}

async function readProblem(response) {
  try {
    return new Problem(response.status, await response.json());
  } catch {
    return new Problem(response.status, {});
  }
}

/** Show a banner, and poll every few seconds until the service is back. */
export function reportOutage() {
  if (waiting) return;
  waiting = true;
  const banner = $("banner");
  banner.textContent = "The service is not responding. Retrying every few seconds; stored videos are safe.";
  banner.hidden = false;
  const poll = async () => {
    try {
      await fetch("/health/live", { cache: "no-store" });
    } catch {
      setTimeout(poll, RETRY_MS);
      return;
    }
    waiting = false;
    banner.hidden = true;
    notifyRecovery();
  };
  setTimeout(poll, RETRY_MS);
}

function notifyRecovery() {
  for (const action of recoveryCallbacks) action();
}

export function askForKey() {
  const dialog = $("key-dialog");
  if (dialog.open) return;
  if (sessionStorage.getItem(STORED_KEY)) {
    $("key-reason").textContent = "This key is invalid or has been revoked.";
  }
  dialog.showModal();
}

/** Images, videos and event streams are requested without headers, so exchange the key for a cookie. */
export async function startSession() {
  if (!sessionStorage.getItem(STORED_KEY)) return;
  $("sign-out").hidden = false;
  try {
    await call("/session", { method: "POST" });
  } catch {
    return; // `call` has shown the banner or asked for the key.
  }
}

export function installKeyDialog() {
  $("key-form").addEventListener("submit", async () => {
    sessionStorage.setItem(STORED_KEY, $("key").value.trim());
    $("key").value = "";
    await startSession();
    notifyRecovery();
  });
  $("sign-out").addEventListener("click", async () => {
    await call("/session", { method: "DELETE" }).catch(() => null);
    sessionStorage.removeItem(STORED_KEY);
    window.location.reload();
  });
}

/** Show the state of the service in one line. */
export async function showHealth() {
  let health;
  try {
    health = await (await fetch("/health", { cache: "no-store" })).json();
  } catch {
    reportOutage();
    return;
  }
  const failed = Object.entries(health.checks).filter(([, check]) => check.status !== "ok");
  $("service").textContent = failed.length
    ? `Unhealthy: ${failed.map(([name, check]) => `${name} (${check.detail})`).join(", ")}`
    : `Version ${health.version}`;
}
