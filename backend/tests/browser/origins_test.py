"""Pages of other sites in a real browser: they neither read nor change anything.

`tests/integration/origins_test.py` has the requests that no browser sends.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support import clips, servers, web
from tests.support.browser import Browser
from tests.support.servers import Process, eventually

VIDEOS = "/api/v1/videos"
# What a page can make a browser send without being allowed to: forms, `no-cors` requests, images.
ATTACK = """
const [target, video, clip] = arguments;
const place = `${target}/api/v1/videos/${video}`;
const bytes = Uint8Array.from(atob(clip), (letter) => letter.charCodeAt(0));
const data = new FormData();
data.append("file", new Blob([bytes]), "evil.mp4");
const send = (url, options) => fetch(url, options).then(() => "sent", () => "blocked");
const loaded = (url) => new Promise((resolve) => {
  const image = new Image();
  image.onload = () => resolve("shown");
  image.onerror = () => resolve("blocked");
  image.src = url;
});
const submit = (url, sandbox) => {
  const frame = document.createElement("iframe");
  if (sandbox) frame.sandbox = "allow-forms allow-scripts";
  const script = "<script>document.forms[0].submit()</script>";
  frame.srcdoc = `<form method="post" action="${url}"></form>${script}`;
  document.body.append(frame);
};
submit(`${place}/analyses`, false);
submit(`${place}/analyses`, true);
return Promise.all([
  send(`${target}/api/v1/videos`, {method: "POST", mode: "no-cors", body: data}),
  send(`${place}/analyses`, {method: "POST", mode: "no-cors"}),
  navigator.sendBeacon(`${target}/api/v1/imports`, "{}") ? "sent" : "blocked",
  send(place, {method: "DELETE"}),
  send(`${target}/api/v1/videos`, {}),
  loaded(`${place}/thumbnail`),
]);
"""
# The first two reach the service, but the page is not shown that they were refused.
OUTCOME = ["blocked", "blocked", "sent", "blocked", "blocked", "blocked"]
OWN = """
const [clip] = arguments;
const bytes = Uint8Array.from(atob(clip), (letter) => letter.charCodeAt(0));
const data = new FormData();
data.append("file", new Blob([bytes]), "own.mp4");
return fetch("/api/v1/videos", {method: "POST", body: data}).then((response) => response.status);
"""


class _EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Another site</title><body>")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def other_site() -> Iterator[int]:
    """Serve an empty page on every name of this machine; yield the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _EmptyPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def films(
    tmp_path_factory: pytest.TempPathFactory, yard: Path
) -> Iterator[tuple[int, str, Process]]:
    """Run a service that is also known as films.example; yield port, a video's id, process."""
    home = tmp_path_factory.mktemp("films")
    variables = {"ALLOWED_HOSTS": "films.example", "IMPORT_DIR": str(home)}
    with servers.api(home / "data", log=home / "log", variables=variables) as (url, process):
        file = {"file": ("a.mp4", yard.read_bytes())}
        video = web.post(url + VIDEOS, files=file, timeout=60).json()["id"]
        eventually(lambda: web.get(f"{url}{VIDEOS}/{video}").json()["analysis"]["status"] == "done")
        yield int(url.rpartition(":")[2]), video, process


def state(port: int) -> Any:
    url = f"http://127.0.0.1:{port}"
    analyses = web.get(f"{url}/api/v1/analyses").json()["analyses"]
    return [web.get(url + VIDEOS).json(), [(one["id"], one["status"]) for one in analyses]]


def refused(process: Process, reason: str) -> list[dict[str, Any]]:
    lines = map(json.loads, process.output().splitlines())
    return [line for line in lines
            if line.get("event") == "request.refused" and line["reason"] == reason]  # fmt: skip


@pytest.mark.parametrize(
    ("attacker", "target"),
    [
        ("evil.example", "localhost"),  # Sec-Fetch-Site: cross-site
        ("localhost", "localhost"),  # same-site: another port of the same name
        ("evil.example", "films.example"),  # Origin only: without TLS, and not on localhost
    ],
)
def test_page_of_another_site_neither_reads_nor_changes_anything(
    attacker: str,
    target: str,
    browser: Browser,
    films: tuple[int, str, Process],
    clip_dir: Path,
) -> None:
    port, video, process = films
    clip = clips.brightness(clip_dir / f"{attacker}{target}.mp4", colour="red")
    before, seen = state(port), len(refused(process, "cross-site"))
    with other_site() as other:
        browser.open(f"http://{attacker}:{other}/")
        content = base64.b64encode(clip.read_bytes()).decode()
        outcome = browser.script(ATTACK, f"http://{target}:{port}", video, content)
    assert outcome == OUTCOME
    eventually(lambda: len(refused(process, "cross-site")) == seen + 5)
    new = refused(process, "cross-site")[seen:]
    origin = f"http://{attacker}:{other}"
    assert sorted(str(line["origin"]) for line in new) == [*[origin] * 4, "null"]
    site = {"films.example": None}.get(target, "same-site" if attacker == target else "cross-site")
    assert {line["site"] for line in new} <= {site, site and "cross-site"}
    assert {line["client"] for line in new} == {"127.0.0.1"}
    assert state(port) == before
    browser.console()


def test_name_rebound_to_the_service_shows_nothing(
    browser: Browser, films: tuple[int, str, Process]
) -> None:
    port, video, process = films
    before = state(port)
    browser.open(f"http://evil.example:{port}/")
    assert "The service is not known as 'evil.example'" in browser.text()
    # To the browser this page and the service have one origin.
    for method, path in (("GET", VIDEOS), ("DELETE", f"{VIDEOS}/{video}"), ("GET", "/health")):
        script = "return fetch(arguments[1], {method: arguments[0]}).then((reply) => reply.status)"
        assert browser.script(script, method, path) == 421
    assert {line["host"] for line in refused(process, "host")} == {"evil.example"}
    assert state(port) == before
    browser.console()


HOSTS = ["localhost", "127.0.0.1", "films.example"]


@pytest.mark.parametrize("host", HOSTS)
def test_page_of_the_service_may_change_things(
    host: str, browser: Browser, films: tuple[int, str, Process], clip_dir: Path
) -> None:
    port, _, _ = films
    clip = clips.pattern(clip_dir / f"{host}.mp4", seconds=1, size="64x64", rate="5")
    content = clips.variant(clip, HOSTS.index(host))
    browser.open(f"http://{host}:{port}/")
    assert browser.script(OWN, base64.b64encode(content).decode()) == 201
    assert browser.console() == []
