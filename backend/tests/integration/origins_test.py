"""What a web page can do to the service through somebody's browser, without and with API keys.

`tests/browser/origins_test.py` shows the same in a real browser.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from tests.support import rows
from tests.support.web import check_security_headers

from app.api.application import create_app
from app.db import Database
from app.services import analyses, keys
from app.settings import load_settings
from app.video import Parameters

VIDEOS, ANALYSES = "/api/v1/videos", "/api/v1/analyses"
HOME = "http://localhost:8000"
EVIL = "evil.example"
PROBES = ("/health", "/health/live", "/health/ready", "/metrics")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Database]:
    path = tmp_path_factory.mktemp("origins") / "test.db"
    shutil.copy(migrated_sqlite, path)
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


@contextmanager
def service(database: Database, tmp_path: Path, **settings: object) -> Iterator[TestClient]:
    url = SecretStr(str(database.engine.url))
    chosen = load_settings({"data_dir": tmp_path / "data", "database_url": url, **settings})
    with TestClient(create_app(chosen), base_url=HOME) as client:
        yield client


@pytest.fixture(scope="module")
def client(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with service(database, tmp_path_factory.mktemp("service")) as client:
        yield client


def test_rebound_name_reads_and_deletes_nothing(client: TestClient, database: Database) -> None:
    # DNS rebinding: to the browser it is the page's own origin, so only the host tells.
    place = f"{VIDEOS}/{rows.video(database)}"
    headers = {"host": f"{EVIL}:8000", "origin": f"http://{EVIL}:8000",
               "sec-fetch-site": "same-origin"}  # fmt: skip
    for method, path in (
        ("GET", VIDEOS), ("GET", "/"), ("GET", "/openapi.json"), ("GET", "/static/page.js"),
        ("GET", "/nowhere"), ("OPTIONS", "/api/v1/uploads"), ("DELETE", place), ("HEAD", place),
        *(("GET", probe) for probe in PROBES),
    ):  # fmt: skip
        reply = client.request(method, path, headers=headers)
        assert reply.status_code == 421, (method, path)
        if method != "HEAD":
            assert reply.json()["type"] == "urn:problem:host-not-allowed"
            assert reply.json()["detail"] == (
                "The service is not known as 'evil.example'. To use it under this name, add the "
                "name to ALLOWED_HOSTS."
            )
    assert client.get(place).status_code == 200


@pytest.mark.parametrize(
    ("settings", "known", "unknown"),
    [
        (
            {},
            ["localhost", "LocalHost.:8000", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8000"],
            [EVIL, "localhost.evil.example", "xlocalhost", "127.0.0.1.nip.io", "10.0.0.7:8000",
             "[fd00::1]"],
        ),
        (
            {"allowed_hosts": "Films.example, *.lan,10.0.0.7,[fd00::1]"},
            ["localhost", "films.example", "FILMS.example:443", "a.b.lan", "10.0.0.7",
             "[fd00:0:0::1]:8000"],
            [EVIL, "lan", "xfilms.example", "films.example.evil.example", "10.0.0.70"],
        ),
        ({"allowed_hosts": "*"}, [EVIL, "10.0.0.7"], []),
        ({"require_api_key": True}, [EVIL, "10.0.0.7"], []),
        ({"require_api_key": True, "allowed_hosts": "films.example"}, ["films.example"], [EVIL]),
    ],
    ids=["default", "names", "any", "keys", "keys and names"],
)  # fmt: skip
def test_hosts_are_loopback_names_and_those_that_are_allowed(
    settings: dict[str, object],
    known: list[str],
    unknown: list[str],
    database: Database,
    tmp_path: Path,
) -> None:
    with service(database, tmp_path, **settings) as client:
        for host in known:
            assert client.get("/", headers={"host": host}).status_code == 200, host
        for host in unknown:
            assert client.get("/", headers={"host": host}).status_code == 421, host


def test_probes_may_use_any_address_as_host(client: TestClient) -> None:
    # As Kubernetes and Prometheus do. No page has them but one that this address serves.
    for host in ("10.42.0.7:8000", "[fd00::7]:8000", "192.168.1.5"):
        for path in PROBES:
            assert client.get(path, headers={"host": host}).status_code == 200, (host, path)
        assert client.get(VIDEOS, headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "user@localhost", "localhost:x", "localhost:123456", "[::1", "[x]"]
)
def test_malformed_host_is_refused(client: TestClient, host: str) -> None:
    reply = client.get(VIDEOS, headers={"host": host})
    assert (reply.status_code, reply.json()["title"]) == (400, "Invalid Host header")


def test_second_host_is_refused(client: TestClient) -> None:
    reply = client.get(VIDEOS, headers=[("host", "localhost"), ("host", EVIL)])
    assert reply.status_code == 400


STRANGERS = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},  # another port of this machine, or a sibling domain
    {"sec-fetch-site": "something-new"},
    {"sec-fetch-site": "cross-site", "origin": HOME},
    {"origin": f"http://{EVIL}"},
    {"origin": "http://localhost:8001"},
    {"origin": "http://localhost"},
    {"origin": "null"},  # a sandboxed frame, a file
    {"origin": ""},
    {"origin": "http://localhost:8000.evil.example"},
    {"origin": "http://localhost:8000@evil.example"},
    {"origin": "chrome-extension://localhost:8000"},
]
OWN = [
    {},  # not a browser
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
    {"sec-fetch-site": "same-origin", "origin": HOME},
    # The proxy in front speaks TLS and changes Host.
    {"sec-fetch-site": "same-origin", "origin": "https://films.example"},
    {"origin": HOME},
    {"origin": HOME.upper()},
]


@pytest.mark.parametrize("headers", STRANGERS, ids=str)
def test_other_sites_change_nothing(
    headers: dict[str, str], client: TestClient, database: Database, clip: Path
) -> None:
    video = rows.video(database)
    with database.writing() as session:
        analysis = analyses.request(session, video_id=video, parameters=Parameters())[0].id
    files = {"files": {"file": ("a.mp4", clip.read_bytes())}}
    begin = {"headers": {"tus-resumable": "1.0.0", "upload-length": "9"}}
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", VIDEOS, files),
        ("POST", "/api/v1/imports", {"json": {"path": "a.mp4"}}),
        ("POST", "/api/v1/uploads", begin),
        ("POST", "/api/v1/session", {}),
        ("DELETE", "/api/v1/session", {}),
        ("POST", f"{VIDEOS}/{video}/analyses", {}),
        ("POST", f"{ANALYSES}/{analysis}/cancel", {}),
        ("POST", f"{ANALYSES}/{analysis}/retry", {}),
        ("PATCH", f"/api/v1/uploads/{uuid.uuid4()}", {}),
        ("PUT", VIDEOS, {}),
        ("DELETE", f"{VIDEOS}/{video}", {"headers": {"if-match": "*"}}),
        ("POST", "/nowhere", {}),
    ]
    for method, path, more in requests:
        sent = {**more, "headers": {**more.get("headers", {}), **headers}}
        reply = client.request(method, path, **sent)
        assert (reply.status_code, reply.json()["type"]) == (403, "urn:problem:cross-site"), path
        assert "a page of another site" in reply.json()["detail"]
        assert reply.headers["x-request-id"] == reply.json()["request_id"]
    assert client.get(f"{ANALYSES}/{analysis}").json()["status"] != "cancelled"
    # Reading is harmless: browsers keep the response from the page.
    reply = client.get(f"{VIDEOS}/{video}", headers=headers)
    assert reply.status_code == 200
    assert reply.headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_page_and_programs_change_what_they_want(
    headers: dict[str, str], client: TestClient, database: Database
) -> None:
    place = f"{VIDEOS}/{rows.video(database)}"
    assert client.delete(place, headers=headers).status_code == 204


def test_default_ports_need_not_be_named(client: TestClient, database: Database) -> None:
    for host, origin in (
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost:443", "https://localhost"),
        ("[::1]", "http://[::1]:80"),
    ):
        place = f"{VIDEOS}/{rows.video(database)}"
        reply = client.delete(place, headers={"host": host, "origin": origin})
        assert reply.status_code == 204, (host, origin)


def test_keys_do_not_open_the_service_to_other_sites(database: Database, tmp_path: Path) -> None:
    with database.writing() as session:
        key = keys.create(session, name="page").text
    with service(database, tmp_path, require_api_key=True) as client:
        for headers in STRANGERS:
            reply = client.post("/api/v1/session", headers={"x-api-key": key, **headers})
            assert reply.status_code == 403
            assert "set-cookie" not in reply.headers


def test_every_response_has_the_security_headers(client: TestClient) -> None:
    for method, path, status in (
        ("GET", "/", 200), ("GET", "/static/page.js", 200), ("GET", VIDEOS, 200),
        ("HEAD", VIDEOS, 200), ("GET", "/nowhere", 404), ("PUT", VIDEOS, 405),
        ("GET", f"{VIDEOS}?limit=x", 422), ("GET", "/metrics", 200),
        ("GET", f"{VIDEOS}/{uuid.uuid4()}/thumbnail", 404),
    ):  # fmt: skip
        reply = client.request(method, path)
        assert reply.status_code == status, path
        check_security_headers(reply.headers)
