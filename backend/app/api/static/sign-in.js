// Signing in with Google; the service adds this module to the page only if it is configured.
import { call } from "./api.js";
import { $, make } from "./dom.js";

const PLACE = "place";

/** Coming back from Google, continue where the sign-in began. */
function restorePlace() {
  const place = sessionStorage.getItem(PLACE);
  sessionStorage.removeItem(PLACE);
  if (place && !window.location.hash) history.replaceState(null, "", place);
}

function offer() {
  $("key-title").textContent = "Sign in";
  $("key-reason").textContent = "Or use an API key.";
  $("key-form").querySelector("h2").after(make("div", { class: "sign-in" },
    make("a", {
      id: "sign-in", class: "button", href: document.querySelector("meta[name=sign-in]").content,
      onclick: () => sessionStorage.setItem(PLACE, window.location.hash),
    }, "Sign in with Google")));
}

async function showPerson() {
  let who;
  try {
    who = await call("/session");
  } catch {
    return; // `call` has asked for a key, and so offered to sign in.
  }
  if (!who.address) return;
  document.body.dataset.role = who.role;
  $("sign-out").textContent = "Sign out";
  $("sign-out").hidden = false;
  $("sign-out").before(make("p", { id: "who", class: "quiet" }, who.role === "reader" ? `${who.address} (read only)` : who.address));
}

restorePlace();
offer();
showPerson();
