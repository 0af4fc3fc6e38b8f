// Entry point: connects the list with the video selected by the URL (#video=ID).
import { installKeyDialog, onRecovery, showHealth, startSession } from "./api.js";
import { $, announce } from "./dom.js";
import * as detail from "./detail.js";
import { installFindings } from "./findings.js";
import * as library from "./library.js";
import { onChange } from "./live.js";
import { goTo } from "./player.js";
import { installTimeline } from "./timeline.js";
import { installUpload } from "./upload.js";

const HEALTH_MS = 30000;

function route() {
  const id = /^#video=([0-9a-f-]{36})$/.exec(window.location.hash)?.[1];
  const wasOpen = document.body.classList.contains("chosen");
  document.body.classList.toggle("chosen", Boolean(id));
  library.markCurrent(id);
  if (id) {
    detail.open(id);
    return;
  }
  detail.close();
  if (wasOpen) $("library-title").focus();
}

installKeyDialog();
library.installLibrary();
detail.installDetail();
installFindings();
installTimeline((seconds) => goTo(seconds));
onChange((analysis) => {
  library.update(analysis);
  detail.update(analysis);
});
installUpload((video, { known }) => {
  library.addFirst(video);
  if (known) announce(`${video.filename} already exists.`);
  window.location.hash = `#video=${video.id}`;
});
onRecovery(() => {
  showHealth();
  library.reload();
  route();
});
window.addEventListener("hashchange", route);

await startSession();
showHealth();
setInterval(showHealth, HEALTH_MS);
await library.reload();
route();
