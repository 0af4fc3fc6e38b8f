// Upload, list, result. Talks to /api/v1 only; everything shown is set as text, never as HTML.
const $ = (id) => document.getElementById(id);
const shown = new Map();
let cursor = null;

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function describe(item, video) {
  const { analysis } = video;
  const remove = element("button", "Delete", { type: "button", "aria-label": `Delete ${video.filename}` });
  remove.addEventListener("click", async () => {
    const reply = await fetch(`/api/v1/videos/${video.id}`, { method: "DELETE" });
    if (reply.ok || reply.status === 404) {
      shown.delete(video.id);
      item.remove();
    } else {
      $("message").textContent = `Could not delete ${video.filename}.`;
    }
  });
  const header = document.createElement("header");
  header.append(element("strong", video.filename), element("span", analysis.status), remove);
  item.replaceChildren(header);
  if (analysis.reason) item.append(element("p", analysis.reason));
  const { result } = analysis;
  if (result) {
    const seconds = result.duration === null ? "unknown length" : `${result.duration.toFixed(1)} s`;
    const facts = `${result.codec}, ${result.width}×${result.height}, ${seconds}, ${analysis.event_count} events`;
    item.append(element("p", facts));
  }
  if (analysis.status === "queued" || analysis.status === "running") {
    setTimeout(() => refresh(video.id), 1000);
  }
}

async function refresh(id) {
  const reply = await fetch(`/api/v1/videos/${id}`);
  if (reply.ok && shown.has(id)) describe(shown.get(id), await reply.json());
}

function show(video, { first }) {
  let item = shown.get(video.id);
  if (!item) {
    item = document.createElement("li");
    shown.set(video.id, item);
    if (first) $("videos").prepend(item); else $("videos").append(item);
  }
  describe(item, video);
}

async function more() {
  const reply = await fetch(`/api/v1/videos?limit=20${cursor ? `&cursor=${cursor}` : ""}`);
  if (!reply.ok) {
    $("message").textContent = "The list cannot be read right now.";
    return;
  }
  const page = await reply.json();
  page.videos.forEach((video) => show(video, { first: false }));
  cursor = page.next_cursor;
  $("more").hidden = cursor === null;
}

$("upload").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  // fetch() cannot report upload progress; XMLHttpRequest can.
  const request = new XMLHttpRequest();
  const progress = $("progress");
  progress.hidden = false;
  request.upload.addEventListener("progress", (step) => { progress.value = step.loaded / step.total; });
  request.addEventListener("loadend", () => {
    progress.hidden = true;
    let reply = {};
    try { reply = JSON.parse(request.responseText); } catch { /* no reply at all, said below */ }
    if (request.status === 201 || request.status === 200) {
      $("message").textContent = request.status === 201 ? "Uploaded." : "This video was here already.";
      show(reply, { first: true });
    } else {
      $("message").textContent = reply.detail ?? reply.title ?? "The upload failed: no answer.";
    }
  });
  request.open("POST", "/api/v1/videos");
  request.send(new FormData($("upload")));
});
$("more").addEventListener("click", more);
more();
