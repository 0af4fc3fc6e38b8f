// Uploads: chosen or dropped, sent one after the other, each with a bar and with its error in words.
import { askForKey, keyHeaders, media, serviceIsGone } from "./api.js";
import { $, announce, bytes, make, percent } from "./dom.js";

const waiting = [];
let sending = false;
let stored = () => {};

/** `action(video)` is called with each video that the service has stored. */
export function installUpload(action) {
  stored = action;
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
    this.words = make("p", { class: "quiet" }, `Waiting, ${bytes(file.size)}`);
    this.button = make("button", { type: "button", class: "plain", onclick: () => this.stop() }, "Cancel");
    this.button.setAttribute("aria-label", `Cancel ${file.name}`);
    const row = make("div", { class: "row" }, make("strong", {}, file.name), this.button);
    this.item = make("li", {}, row, this.bar, this.words);
  }

  /** Sends the file; resolves when it is over, well or not. */
  send() {
    if (this.stopped) return Promise.resolve();
    // fetch() cannot tell how much has been sent; XMLHttpRequest can.
    this.request = new XMLHttpRequest();
    const { request } = this;
    const started = performance.now();
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      const share = total ? loaded / total : 0;
      const rate = loaded / Math.max(0.1, (performance.now() - started) / 1000);
      this.bar.value = share;
      this.words.textContent = share < 1
        ? `${percent(share)} of ${bytes(total)}, ${bytes(rate)} per second`
        : "Sent; the service is looking at it";
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
      // No answer, or one of a proxy in between; said in words below.
    }
    if (status === 201 || status === 200) {
      announce(status === 201 ? `${this.file.name} is stored.` : `${this.file.name} was here already.`);
      this.item.remove();
      stored(reply, { known: status === 200 });
      return;
    }
    if (status === 401) askForKey();
    if (status === 0) serviceIsGone();
    this.fail(status === 0
      ? "The connection broke; nothing was stored."
      : reply.detail ?? reply.title ?? `The service answered with error ${status}.`);
  }

  fail(reason) {
    this.item.classList.add("failed");
    this.bar.hidden = true;
    this.words.classList.remove("quiet");
    this.words.textContent = reason;
    announce(`${this.file.name}: ${reason}`);
    const again = make("button", { type: "button", "aria-label": `Try ${this.file.name} again` }, "Try again");
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
