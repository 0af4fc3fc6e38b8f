"""Signing in at a real OpenID provider, on both databases; `tests/browser` has a real browser."""

import json
import logging
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import text
from tests.support import openid
from tests.support.openid import CLIENT_ID, CLIENT_SECRET, Faults, Provider

from app.api.application import create_app
from app.logs import JsonFormatter
from app.services import keys as key_service
from app.services import oidc
from app.settings import load_settings

VIDEOS = "/api/v1/videos"
SESSION = "/api/v1/session"
SIGN_IN = "/api/v1/sign-in"
CALLBACK = f"{SIGN_IN}/callback"
PUBLIC = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with openid.provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.faults = Faults()
    running.redirect_uri = PUBLIC + CALLBACK
    running.asked.clear()
    return running


def service(tmp_path: Path, provider: Provider, url: str, **settings: object) -> TestClient:
    chosen: dict[str, Any] = {
        "data_dir": tmp_path / "data",
        "database_url": SecretStr(url),
        "google_client_id": CLIENT_ID,
        "google_client_secret": SecretStr(CLIENT_SECRET),
        "google_issuer": provider.url,
        "google_editors": ("films.example", "eve@elsewhere.example"),
        "google_readers": ("rob@films.example",),
        "public_url": PUBLIC,
    }
    app = create_app(load_settings(chosen | settings))
    return TestClient(app, base_url=PUBLIC, follow_redirects=False)


@pytest.fixture
def client(tmp_path: Path, migrated_url: str, provider: Provider) -> Iterator[TestClient]:
    with service(tmp_path, provider, migrated_url) as client:
        yield client


@pytest.fixture(scope="module")
def started(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path, running: Provider
) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("quick")
    (home / "quick.db").write_bytes(migrated_sqlite.read_bytes())
    with service(home, running, f"sqlite:///{home}/quick.db") as client:
        yield client


@pytest.fixture
def quick(started: TestClient, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """One service on SQLite, for what has nothing to do with the database; it remembers nothing."""
    assert provider.asked == []
    monkeypatch.setattr(oidc, "DOCUMENT_LIFETIME_S", 0.0)
    started.cookies.clear()
    return started


def at_provider(
    location: str, *, user: str = "ann", trusted: Path | None = None, **claims: object
) -> str:
    """Choose an account at the provider; return the address that it sends the browser to."""
    form = {"user": user, "claims": json.dumps(claims)}
    with openid.web_client(trusted) as browser:
        reply = browser.post(location, data=form)
    assert reply.status_code == 302, reply.text
    return str(reply.headers["location"])


def sign_in(client: TestClient, **chosen: Any) -> Any:
    """Sign in; return the last response."""
    start = client.get(SIGN_IN)
    assert start.status_code == 303, start.text
    return client.get(at_provider(start.headers["location"], **chosen))


def refused(reply: Any, status: int, words: str) -> None:
    assert (reply.status_code, words in reply.json()["detail"]) == (status, True), reply.text
    assert "session" not in {name.strip() for name in reply.headers.get("set-cookie", "")}


def test_whoever_signs_in_has_a_session_until_they_sign_out(client: TestClient) -> None:
    assert client.get(VIDEOS).status_code == 401
    start = client.get(SIGN_IN)
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(start.headers["location"]).query))
    assert query["redirect_uri"] == PUBLIC + CALLBACK
    assert (query["code_challenge_method"], len(query["code_challenge"])) == ("S256", 43)
    assert {"state", "nonce"} <= set(query)
    cookie = start.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=lax", f"Path={SIGN_IN}", "Max-Age=600"} <= set(cookie)
    back = client.get(at_provider(start.headers["location"]))
    assert (back.status_code, back.headers.get("location")) == (303, "/"), back.text
    new, gone = back.headers.get_list("set-cookie")
    assert {"HttpOnly", "SameSite=strict", "Path=/api/v1"} <= set(new.split("; "))
    assert gone.startswith('sign-in="";')
    who = client.get(SESSION)
    assert who.json() == {"address": "ann@films.example", "role": "editor"}
    value = client.cookies["session"]
    assert client.delete(SESSION).status_code == 204
    assert client.get(SESSION, headers={"cookie": f"session={value}"}).status_code == 401


def test_readers_cannot_change_anything(client: TestClient) -> None:
    assert sign_in(client, email="rob@films.example").status_code == 303
    assert client.get(SESSION).json() == {"address": "rob@films.example", "role": "reader"}
    some = "01a21053-8a52-7156-bc2b-3e5cf2fcbf2c"
    changing = 0
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            if method in ("get", "head") or (method, path) == ("delete", SESSION):
                continue
            place = path
            for parameter in operation.get("parameters", []):
                place = place.replace(f"{{{parameter['name']}}}", some)
            reply = client.request(method, place)
            assert reply.status_code == 403, (method, path)
            assert "rob@films.example may read, but not change anything" in reply.text
            changing += 1
    assert changing > 8
    assert client.get(VIDEOS).status_code == 200
    assert client.delete(SESSION).status_code == 204
    assert sign_in(client).status_code == 303
    assert client.delete(f"{VIDEOS}/{some}").status_code == 404
    # Other sites cannot use the session of an editor.
    other = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    assert client.delete(f"{VIDEOS}/{some}", headers=other).status_code == 403


def test_keys_work_beside_signing_in(client: TestClient) -> None:
    with client.app.state.context.database.writing() as session:  # type: ignore[attr-defined]
        key = {"x-api-key": key_service.create(session, name="a").text}
    assert client.get(SESSION, headers=key).json() == {"address": None, "role": "editor"}
    assert client.delete(f"{VIDEOS}/{'0' * 32}", headers=key).status_code == 404
    assert client.post(SESSION, headers=key).status_code == 204
    assert client.get(VIDEOS).status_code == 200
    # The cookie of a key is read-only, as without signing in.
    assert client.delete(f"{VIDEOS}/{'0' * 32}").status_code == 401
    first = client.cookies["session"]
    assert sign_in(client).status_code == 303
    assert client.get(VIDEOS, headers={"cookie": f"session={first}"}).status_code == 401


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"email": "mallory@elsewhere.example", "hd": None}, "mallory@elsewhere.example is not"),
        # The end of a name is not its domain.
        ({"email": "a@evil-films.example", "hd": "evil-films.example"}, "is not among the people"),
        ({"email": "a@films.example.evil.example", "hd": "films.example"}, "is not among"),
        # An address of the domain, but of nobody's Workspace, or of another one.
        ({"hd": None}, "ann@films.example is not among the people"),
        ({"hd": "evil.example"}, "ann@films.example is not among the people"),
        ({"email": "a@evil.example", "hd": "films.example"}, "a@evil.example is not among"),
        ({"email_verified": False}, "has not verified that ann@films.example is yours"),
        ({"email_verified": None}, "has not verified that ann@films.example is yours"),
        ({"email_verified": "true"}, "has not verified that ann@films.example is yours"),
        ({"email": None}, "has no e-mail address"),
        ({"email": ["ann@films.example"]}, "has no e-mail address"),
        # KELVIN SIGN, a small k in lower case.
        ({"email": "\u212a@films.example"}, "has unusual characters"),
        ({"email": "ann@films.example\nx"}, "has unusual characters"),
        ({"email": "a" * 250 + "@films.example"}, "has unusual characters"),
    ],
)
def test_people_who_are_not_admitted_are_told_so(
    claims: dict[str, object], words: str, quick: TestClient, provider: Provider
) -> None:
    provider.faults.claims = claims
    refused(sign_in(quick), 403, words)
    assert quick.get(VIDEOS).status_code == 401


def test_address_takes_precedence_over_its_domain_whatever_its_case(quick: TestClient) -> None:
    assert sign_in(quick, email="Eve@Elsewhere.Example", hd=None).status_code == 303
    expected = {"address": "eve@elsewhere.example", "role": "editor"}
    assert quick.get(SESSION).json() == expected


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (Faults(claims={"nonce": "another"}), "wrong or missing nonce"),
        (Faults(claims={"nonce": None}), "wrong or missing nonce"),
        (Faults(claims={"aud": "another"}), "wrong or missing audience"),
        (Faults(claims={"aud": [CLIENT_ID, "another"]}), "wrong or missing audience"),
        (Faults(claims={"aud": None}), "wrong or missing audience"),
        (Faults(claims={"iss": "https://evil.example"}), "wrong or missing issuer"),
        (Faults(claims={"iss": None}), "wrong or missing issuer"),
        (Faults(claims={"exp": int(time.time()) - 120}), "has expired"),
        (Faults(claims={"exp": None}), "wrong or missing time"),
        (Faults(claims={"exp": "soon"}), "wrong or missing time"),
        (Faults(claims={"iat": int(time.time()) + 3600}), "wrong or missing time"),
        (Faults(claims={"at_hash": "another"}), "wrong or missing access token"),
        (Faults(algorithm="none"), "malformed, or not signed by the provider"),
        (Faults(algorithm="HS256"), "malformed, or not signed by the provider"),
        (Faults(kid="unknown"), "malformed, or not signed by the provider"),
        # Another key under the id of a known one.
        (Faults(signing=1, kid="first"), "malformed, or not signed by the provider"),
        (Faults(published=[]), "has published no usable signing key"),
        (Faults(no_issuer=True), "not from the configured provider"),
        (Faults(document={"issuer": "https://evil.example"}), "names another issuer"),
        (Faults(document={"token_endpoint": "http://evil.example/"}), "no usable token endpoint"),
        (Faults(document={"jwks_uri": 7}), "no usable jwks uri"),
        (Faults(document={"authorization_endpoint": "javascript:x"}), "no usable authorization"),
        (Faults(answers={"/token": (200, b"<html>")}), "token response is malformed"),
        (Faults(answers={"/token": (200, b"[]")}), "token response is malformed"),
        (Faults(answers={"/token": (503, b"<html>")}), "responded with status 503"),
        (Faults(answers={"/token": (400, b'{"error": "<b>"}')}), "refuses the code (no reason)"),
        (Faults(answers={"/token": (200, b'{"expires_in": "x"}')}), "token response is malformed"),
        (Faults(answers={"/token": (200, b'{"id_token": 7}')}), "has sent no ID token"),
        (Faults(answers={"/token": (200, b'{"id_token": "a.b.c"}')}), "is malformed"),
        (Faults(answers={"/token": (200, b" " * 70_000)}), "sent more than 65536 bytes"),
        (Faults(answers={"/keys": (200, b"[" * 60_000)}), "is not a JSON object"),
        (Faults(answers={"/keys": (200, b'{"keys": [{"kty": "RSA", "kid": "first"}]}')}), "usable"),
        (Faults(answers={"/keys": (302, b"")}), "responded with status 302"),
        (
            Faults(answers={"/.well-known/openid-configuration": (200, b"<html>")}),
            "is not a JSON object",
        ),
        (Faults(stalled="/token"), "No response from localhost: timed out"),
    ],
)
def test_provider_that_cannot_be_trusted_is_refused(
    faults: Faults,
    words: str,
    quick: TestClient,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if faults.stalled:
        monkeypatch.setattr(oidc, "TIMEOUT_S", 0.3)
    provider.faults = faults
    start = quick.get(SIGN_IN)
    if start.status_code == 303:
        start = quick.get(at_provider(start.headers["location"]))
    refused(start, 502, words)
    assert quick.get(VIDEOS).status_code == 401
    # Nothing is remembered of what went wrong.
    provider.faults = Faults()
    assert sign_in(quick).status_code == 303


def test_provider_that_is_down_is_reported(tmp_path: Path, provider: Provider) -> None:
    url = f"sqlite:///{tmp_path}/down.db"
    with service(tmp_path, provider, url, google_issuer="http://localhost:9") as client:
        refused(client.get(SIGN_IN), 502, "Cannot connect to localhost: Connection refused")
        page = client.get(SIGN_IN, headers={"accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert "<h1>Sign-in unavailable</h1>" in page.text


def test_provider_needs_a_trusted_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "certificate.pem"
    openid.write_certificate(certificate)
    url = f"sqlite:///{tmp_path}/tls.db"
    with openid.provider(certificate) as provider, service(tmp_path, provider, url) as client:
        provider.redirect_uri = PUBLIC + CALLBACK
        refused(client.get(SIGN_IN), 502, "untrusted certificate (self-signed certificate)")
        assert provider.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert sign_in(client, trusted=certificate).status_code == 303
        assert client.get(SESSION).json()["role"] == "editor"
        # It may not lead to addresses without TLS.
        provider.faults.document = {"jwks_uri": "http://localhost/keys"}
        with service(tmp_path, provider, url) as other:
            refused(other.get(SIGN_IN), 502, "no usable jwks uri")


def test_sign_in_belongs_to_the_browser_that_started_it_and_happens_once(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    start = client.get(SIGN_IN)
    back = at_provider(start.headers["location"])
    secret = client.cookies["sign-in"]
    cookie = {"cookie": f"sign-in={secret}"}
    client.cookies.clear()
    # Somebody else's sign-in, which a page sends this browser to.
    refused(client.get(back), 400, "has not started a sign-in")
    client.get(SIGN_IN)
    refused(client.get(back), 400, "not the sign-in that the browser started last")
    client.cookies.clear()
    state = urllib.parse.parse_qs(urllib.parse.urlsplit(back).query)["state"][0]
    for wrong in (back.replace(state, state.swapcase()), back.replace("state=", "x=")):
        refused(client.get(wrong, headers=cookie), 400, "not the sign-in")
    assert client.get(back, headers=cookie).status_code == 303
    client.cookies.clear()
    refused(client.get(back, headers=cookie), 400, "has been used already, or has expired")
    # As the service would be asked with another cookie: the provider knows a code once, too.
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(back).query)["code"][0]
    again = at_provider(client.get(SIGN_IN).headers["location"])
    other = urllib.parse.parse_qs(urllib.parse.urlsplit(again).query)["code"][0]
    refused(client.get(again.replace(other, code)), 502, "refuses the code (invalid_grant)")
    for quiet in (secret, state, code, CLIENT_SECRET):
        assert quiet not in caplog.text


def test_sign_in_expires(client: TestClient) -> None:
    start = client.get(SIGN_IN)
    database = client.app.state.context.database  # type: ignore[attr-defined]
    with database.writing() as session:
        session.execute(text("UPDATE sign_in_attempts SET expires_at = '2026-01-01 00:00:00+00'"))
    refused(client.get(at_provider(start.headers["location"])), 400, "or has expired")
    client.get(SIGN_IN)
    with database.reading() as session:  # expired ones do not pile up
        assert session.scalar(text("SELECT count(*) FROM sign_in_attempts")) == 1


def test_code_without_its_verifier_is_worthless(quick: TestClient, provider: Provider) -> None:
    """Another client of the provider, or whoever reads the address, has the code alone."""
    stolen = at_provider(quick.get(SIGN_IN).headers["location"])
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(stolen).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": PUBLIC + CALLBACK}
    with openid.web_client() as thief:
        for more in ({}, {"code_verifier": "x" * 43}):
            auth = (CLIENT_ID, CLIENT_SECRET)
            reply = thief.post(f"{provider.url}/token", data=form | more, auth=auth)
            assert reply.status_code == 400, reply.text


def test_cancelled_sign_in_and_other_errors_of_the_provider(quick: TestClient) -> None:
    refused(sign_in(quick, user="nobody"), 403, "was cancelled")
    back = at_provider(quick.get(SIGN_IN).headers["location"])
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(back).query)["code"][0]
    refused(quick.get(back.replace(f"code={code}", "error=<b>")), 502, "has sent no code")
    # Nobody is sent anywhere but to the page.
    again = at_provider(quick.get(SIGN_IN).headers["location"])
    reply = quick.get(f"{again}&next=//evil.example&redirect_uri=https://evil.example")
    assert reply.headers["location"] == "/"
    assert quick.get(f"{CALLBACK}?state={'x' * 2001}").status_code == 422


def test_host_header_has_no_influence_on_where_the_browser_returns(quick: TestClient) -> None:
    headers = {"host": "evil.example", "x-forwarded-host": "evil.example"}
    location = quick.get(SIGN_IN, headers=headers).headers["location"]
    assert "evil" not in location


def test_rotated_keys_are_fetched_and_not_too_often(tmp_path: Path, provider: Provider) -> None:
    def fetched() -> int:
        return provider.asked.count("GET /keys")

    with service(tmp_path, provider, f"sqlite:///{tmp_path}/rotated.db") as client:
        assert sign_in(client).status_code == 303
        assert sign_in(client).status_code == 303
        assert fetched() == 1
        provider.faults = Faults(published=[0, 1], signing=1)
        assert sign_in(client).status_code == 303
        assert fetched() == 2
        provider.faults.kid = "unknown"
        for _ in range(oidc.REFETCHES + 3):
            refused(sign_in(client), 502, "not signed by the provider")
        assert fetched() == 1 + oidc.REFETCHES
        provider.faults.kid = None
        assert sign_in(client).status_code == 303
    assert provider.asked.count("GET /.well-known/openid-configuration") == 1


def test_sessions_end_at_the_next_request_when_an_address_is_removed(
    tmp_path: Path, migrated_url: str, provider: Provider
) -> None:
    with service(tmp_path, provider, migrated_url) as client:
        sign_in(client)
        cookie = {"cookie": f"session={client.cookies['session']}"}
    with service(
        tmp_path, provider, migrated_url, google_editors=(), google_readers=("films.example",)
    ) as client:
        assert client.get(SESSION, headers=cookie).json()["role"] == "reader"
    with service(tmp_path, provider, migrated_url, google_editors=("bo@films.example",)) as client:
        assert client.get(VIDEOS, headers=cookie).status_code == 401
    # It has ended for good.
    with service(tmp_path, provider, migrated_url) as client:
        assert client.get(VIDEOS, headers=cookie).status_code == 401
        sign_in(client)
        cookie = {"cookie": f"session={client.cookies['session']}"}
    none: dict[str, Any] = {"google_client_id": None, "google_client_secret": None}
    with service(tmp_path, provider, migrated_url, require_api_key=True, **none) as client:
        assert client.get(VIDEOS, headers=cookie).status_code == 401


def test_over_tls_the_cookies_belong_to_this_host_alone(tmp_path: Path, provider: Provider) -> None:
    public = "https://films.example"
    provider.redirect_uri = public + CALLBACK
    url = f"sqlite:///{tmp_path}/tls.db"
    with service(tmp_path, provider, url, public_url=public, allowed_hosts=("other",)) as client:
        client.base_url = public
        start = client.get(SIGN_IN)  # PUBLIC_URL's host is allowed
        first = start.headers["set-cookie"]
        assert first.startswith("__Secure-sign-in=")
        assert "; Secure" in first
        new, _ = client.get(at_provider(start.headers["location"])).headers.get_list("set-cookie")
        assert new.startswith("__Host-session=")
        assert {"Secure", "HttpOnly", "SameSite=strict", "Path=/"} <= set(new.split("; "))


def test_quotas_count_per_person(tmp_path: Path, migrated_url: str, provider: Provider) -> None:
    with service(tmp_path, provider, migrated_url, key_bytes=10, key_jobs=0) as client:
        sign_in(client)
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "11"}
        full = client.post("/api/v1/uploads", headers=headers)
        assert (full.status_code, "The account has stored 0 of 10" in full.text) == (507, True)


def test_log_says_who_has_signed_in_and_no_secret(
    quick: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, object]] = []
    with caplog.at_level(logging.INFO, logger="app"):
        monkeypatch.setattr(
            caplog.handler,
            "emit",
            lambda record: lines.append(json.loads(JsonFormatter().format(record))),
        )
        start = quick.get(SIGN_IN)
        back = at_provider(start.headers["location"])
        secret = quick.cookies["sign-in"]
        quick.get(back)
        quick.get(VIDEOS)
        quick.get(back)
    assert [line.get("user") for line in lines if line["event"] == "sign_in.done"] == [
        "ann@films.example"
    ]
    assert lines[-1]["status"] == 400
    (listed,) = (line for line in lines if line.get("path") == VIDEOS)
    assert listed["user"] == "ann@films.example"
    everything = json.dumps(lines)
    for _, value in urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query):
        assert value == openid_issuer(back) or value not in everything
    assert secret not in everything
    assert CLIENT_SECRET not in everything


def openid_issuer(back: str) -> str:
    return urllib.parse.parse_qs(urllib.parse.urlsplit(back).query)["iss"][0]


def test_without_the_settings_nothing_of_it_exists(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path / "data"})
    with TestClient(create_app(settings), base_url=PUBLIC) as client:
        document = client.get("/openapi.json").text.lower()
        assert [word for word in ("sign-in", "sign in", "google") if word in document] == []
        for path in (SIGN_IN, CALLBACK):
            assert client.get(path).status_code == 404
        assert client.get(SESSION).status_code == 405
        assert "sign-in" not in client.get("/").text
        assert client.get(VIDEOS).status_code == 200
