// Entry point: connects the list with the video that the address names.
import { installKeyDialog, onRecovery, showHealth, startSession } from "./api.js";
import { $, notify } from "./dom.js";
import { installCaptions } from "./captions.js";
import * as detail from "./detail.js";
import { installFindings } from "./findings.js";
import * as library from "./library.js";
import { onChange } from "./live.js";
import { goTo } from "./player.js";
import * as place from "./route.js";
import { installTimeline } from "./timeline.js";
import { installUpload } from "./upload.js";

const HEALTH_MS = 30000;

async function route() {
  const named = place.current();
  const id = named.video;
  const wasOpen = document.body.classList.contains("chosen");
  document.body.classList.toggle("chosen", Boolean(id));
  library.markCurrent(id);
  notify(null);
  if (id) {
    if (await detail.open(named) || place.current().video !== id) return;
    place.replace("");
    document.body.classList.remove("chosen");
    notify("This video does not exist. It may have been deleted.");
  }
  detail.close();
  if (wasOpen) $("library-title").focus();
}

installKeyDialog();
installCaptions();
library.installLibrary();
detail.installDetail();
installFindings();
installTimeline((seconds) => goTo(seconds));
onChange((analysis) => {
  library.update(analysis);
  detail.update(analysis);
});
installUpload((video) => {
  library.addFirst(video);
  // Whoever is watching a video goes on watching it.
  const named = place.current().video;
  if (named && named !== video.id) return false;
  window.location.hash = place.link({ video: video.id });
  return true;
});
onRecovery(() => {
  showHealth();
  library.reload();
  route();
});
window.addEventListener("hashchange", route);

await startSession();
if ("webhooks" in document.body.dataset) (await import("./webhooks.js")).installWebhooks();
showHealth();
setInterval(showHealth, HEALTH_MS);
await library.reload();
route();
