// Resumable uploads (tus 1.0.0): selected or dropped files, sent one by one. A lost connection, a closed
// tab or a restarted service costs only what was on its way; choose the same file again to continue.
import { Unreachable, askForKey, call, keyHeaders, media, reportOutage } from "./api.js";
import { $, announce, bytes, make, percent } from "./dom.js";
import { link } from "./route.js";

// Small enough for proxies that limit the size of a request.
const PART = 50e6;
const RETRY_MS = 2000;
const RETRIES = 5;
// Another request is still writing, or the service is being restarted.
const TEMPORARY = new Set([409, 423, 500, 502, 503, 504]);
const PROTOCOL = { "Tus-Resumable": "1.0.0" };

const waiting = [];
let sending = false;
let onStored = () => false;

/** Call `action(video)` for each stored video; it returns whether the video is now shown. */
export function installUpload(action) {
  onStored = action;
  const form = $("upload");
  const input = $("files");
  input.addEventListener("change", () => {
    add(input.files);
    form.reset();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("dragenter", () => form.classList.add("over"));
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", () => form.classList.remove("over"));
}

function add(files) {
  for (const file of files) {
    const entry = new Entry(file);
    $("uploads").append(entry.item);
    waiting.push(entry);
  }
  next();
}

async function next() {
  if (sending) return;
  sending = true;
  while (waiting.length) await waiting.shift().run();
  sending = false;
}

class Failure extends Error {
  constructor(status, reply) {
    super(reply.detail ?? reply.title ?? `The service responded with error ${status}.`);
    this.status = status;
  }
}

class Entry {
  constructor(file) {
    this.file = file;
    this.memory = `upload ${file.size} ${file.lastModified} ${file.name}`;
    this.bar = make("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
    this.status = make("p", { class: "quiet" }, `Queued, ${bytes(file.size)}`);
    this.button = make("button", { type: "button", class: "plain", onclick: () => this.stop() }, "Cancel");
    this.button.setAttribute("aria-label", `Cancel upload of ${file.name}`);
    this.row = make("div", { class: "row" }, make("strong", {}, file.name), this.button);
    this.item = make("li", {}, this.row, this.bar, this.status);
  }

  /** Send the file; resolve when it has been stored, rejected or cancelled. */
  async run() {
    if (this.stopped) return;
    try {
      const { video_id: id, known } = await this.send();
      if (this.stopped) return;
      this.stored(await call(`/videos/${id}`), known);
    } catch (error) {
      if (this.stopped) return;
      if (error.status === 401) askForKey();
      this.fail(error.message);
    } finally {
      localStorage.removeItem(this.memory);
    }
  }

  async send() {
    this.url = localStorage.getItem(this.memory);
    let offset = this.url ? await this.ask() : null;
    let failures = 0;
    while (!this.stopped) {
      try {
        if (offset === null) offset = await this.create();
        if (offset === this.file.size) return await call(this.url.slice(media("").length));
        offset = await this.sendPart(offset);
        failures = 0;
      } catch (error) {
        const lost = error instanceof Unreachable;
        if (!lost && (!TEMPORARY.has(error.status) || (failures += 1) > RETRIES)) throw error;
        this.status.textContent = lost ? "Connection lost. Continues as soon as the service responds." : "Continues in a moment.";
        await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
        if (!this.stopped) offset = this.url ? await this.ask().catch(() => offset) : null;
      }
    }
    return {};
  }

  /** Begin an upload on the service; return its offset. */
  async create() {
    const name = btoa(String.fromCharCode(...new TextEncoder().encode(this.file.name)));
    const headers = { "Upload-Length": this.file.size, "Upload-Metadata": `filename ${name}` };
    const reply = await this.request("POST", media("/uploads"), headers);
    this.url = reply.getResponseHeader("Location");
    localStorage.setItem(this.memory, this.url);
    return 0;
  }

  /** Return how much the service has; null if it does not know the upload (any more). */
  async ask() {
    try {
      return Number((await this.request("HEAD", this.url)).getResponseHeader("Upload-Offset"));
    } catch (error) {
      if (error instanceof Unreachable) throw error;
      return null;
    }
  }

  async sendPart(offset) {
    const headers = { "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" };
    const part = this.file.slice(offset, offset + PART);
    const reply = await this.request("PATCH", this.url, headers, part, offset);
    return Number(reply.getResponseHeader("Upload-Offset"));
  }

  request(method, url, headers = {}, body = null, offset = 0) {
    // Unlike fetch(), XMLHttpRequest reports upload progress.
    const request = new XMLHttpRequest();
    const started = performance.now();
    this.current = request;
    request.upload.addEventListener("progress", ({ loaded }) => this.show(offset + loaded, loaded, started));
    request.open(method, url);
    for (const [name, value] of Object.entries({ ...PROTOCOL, ...keyHeaders(), ...headers })) request.setRequestHeader(name, value);
    request.send(body);
    return new Promise((resolve, reject) => {
      request.addEventListener("loadend", () => {
        if (request.status >= 200 && request.status < 300) resolve(request);
        else if (request.status) reject(new Failure(request.status, parsed(request.responseText)));
        else {
          if (!this.stopped) reportOutage();
          reject(new Unreachable());
        }
      });
    });
  }

  show(done, loaded, started) {
    const total = this.file.size;
    const rate = loaded / Math.max(0.1, (performance.now() - started) / 1000);
    this.bar.value = total ? done / total : 0;
    this.status.textContent = done < total
      ? `${percent(done / total)} of ${bytes(total)}, ${bytes(rate)} per second`
      : "Uploaded; waiting for the service";
  }

  stored(video, known) {
    const text = known ? "It already exists." : "Stored.";
    announce(`${this.file.name}: ${text}`);
    if (onStored(video)) {
      this.item.remove();
      return;
    }
    this.bar.hidden = true;
    this.status.textContent = `${text} `;
    this.status.append(make("a", { href: link({ video: video.id }), onclick: () => this.item.remove() }, "Show"));
    this.dismissable();
  }

  fail(reason) {
    this.item.classList.add("failed");
    this.bar.hidden = true;
    this.status.classList.remove("quiet");
    this.status.textContent = reason;
    announce(`${this.file.name}: ${reason}`);
    const again = make("button", { type: "button", "aria-label": `Retry upload of ${this.file.name}` }, "Retry");
    again.addEventListener("click", () => {
      this.item.remove();
      add([this.file]);
    });
    this.dismissable();
    this.button.before(again);
  }

  dismissable() {
    this.button.textContent = "Dismiss";
    this.button.setAttribute("aria-label", `Dismiss ${this.file.name}`);
    this.done = true;
  }

  stop() {
    this.stopped = true;
    this.current?.abort();
    this.item.remove();
    if (this.url && !this.done) this.request("DELETE", this.url).catch(() => null);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {}; // No response of the service, but one of a proxy.
  }
}
