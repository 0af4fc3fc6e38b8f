// Uploads: selected or dropped files, sent one by one, each with a progress bar and error message.
import { askForKey, keyHeaders, media, reportOutage } from "./api.js";
import { $, announce, bytes, make, percent } from "./dom.js";

const waiting = [];
let sending = false;
let onStored = () => {};

/** Call `action(video)` for each video that the service has stored. */
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
  while (waiting.length) await waiting.shift().send();
  sending = false;
}

class Entry {
  constructor(file) {
    this.file = file;
    this.bar = make("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
    this.status = make("p", { class: "quiet" }, `Queued, ${bytes(file.size)}`);
    this.button = make("button", { type: "button", class: "plain", onclick: () => this.stop() }, "Cancel");
    this.button.setAttribute("aria-label", `Cancel upload of ${file.name}`);
    const row = make("div", { class: "row" }, make("strong", {}, file.name), this.button);
    this.item = make("li", {}, row, this.bar, this.status);
  }

  /** Send the file; resolve when the request has ended, successfully or not. */
  send() {
    if (this.stopped) return Promise.resolve();
    // Unlike fetch(), XMLHttpRequest reports upload progress.
    this.request = new XMLHttpRequest();
    const { request } = this;
    const started = performance.now();
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      const share = total ? loaded / total : 0;
      const rate = loaded / Math.max(0.1, (performance.now() - started) / 1000);
      this.bar.value = share;
      this.status.textContent = share < 1
        ? `${percent(share)} of ${bytes(total)}, ${bytes(rate)} per second`
        : "Uploaded; waiting for the service";
    });
    request.open("POST", media("/videos"));
    for (const [name, value] of Object.entries(keyHeaders())) request.setRequestHeader(name, value);
    const body = new FormData();
    body.append("file", this.file);
    request.send(body);
    return new Promise((resolve) => {
      request.addEventListener("loadend", () => {
        this.finish();
        resolve();
      });
    });
  }

  finish() {
    if (this.stopped) return;
    const { status, responseText } = this.request;
    let reply = {};
    try {
      reply = JSON.parse(responseText);
    } catch {
      // No response, or one from a proxy; reported below.
    }
    if (status === 201 || status === 200) {
      announce(status === 201 ? `${this.file.name} has been stored.` : `${this.file.name} already exists.`);
      this.item.remove();
      onStored(reply, { known: status === 200 });
      return;
    }
    if (status === 401) askForKey();
    if (status === 0) reportOutage();
    this.fail(status === 0
      ? "The connection was lost; nothing was stored."
      : reply.detail ?? reply.title ?? `The service responded with error ${status}.`);
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
    this.button.textContent = "Dismiss";
    this.button.setAttribute("aria-label", `Dismiss ${this.file.name}`);
    this.button.before(again);
  }

  stop() {
    this.stopped = true;
    this.request?.abort();
    this.item.remove();
  }
}
