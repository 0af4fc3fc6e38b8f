"""API keys end to end on both databases: creation, authentication, sessions, revocation."""

import hashlib
import hmac
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import text, update
from tests.support import clips
from tests.support.servers import BACKEND, service_environment

from app.api.application import create_app
from app.cli import keys as command
from app.db import make_engine
from app.logs import JsonFormatter
from app.models import BrowserSession
from app.models.base import utc_now
from app.services import keys as key_service
from app.settings import load_settings

VIDEOS = "/api/v1/videos"
SESSION = "/api/v1/session"


@pytest.fixture
def client(tmp_path: Path, migrated_url: str) -> Iterator[TestClient]:
    settings = load_settings(
        {
            "data_dir": tmp_path / "data",
            "database_url": SecretStr(migrated_url),
            "require_api_key": True,
        }
    )
    with TestClient(create_app(settings)) as client:
        yield client


def keys_program(tmp_path: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli.keys", *arguments],
        cwd=BACKEND,
        env=service_environment(tmp_path, DATABASE_URL=url),
        capture_output=True,
        text=True,
        check=False,
    )


Keys = Callable[..., str]


@pytest.fixture
def keys(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Keys:
    """Return a function that runs the command in this process, and returns what it prints."""
    monkeypatch.setenv("DATABASE_URL", migrated_url)

    def run(*arguments: str) -> str:
        assert command.main(list(arguments)) == 0
        return capsys.readouterr().out.strip()

    return run


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_key_grants_access_until_it_is_revoked(
    client: TestClient, tmp_path: Path, migrated_url: str
) -> None:
    key = keys_program(tmp_path, migrated_url, "create", "front door").stdout.strip()
    assert client.get(VIDEOS, headers=bearer(key)).status_code == 200
    assert client.get(VIDEOS, headers={"x-api-key": key}).status_code == 200
    listing = keys_program(tmp_path, migrated_url, "list").stdout
    assert key[3:11] in listing
    assert "front door" in listing
    assert key not in listing
    assert client.post(SESSION, headers=bearer(key)).status_code == 204
    assert client.get(VIDEOS).status_code == 200
    assert keys_program(tmp_path, migrated_url, "revoke", key[3:11]).returncode == 0
    for reply in (client.get(VIDEOS, headers=bearer(key)), client.get(VIDEOS)):
        assert reply.status_code == 401
        assert reply.json()["type"] == "urn:problem:unauthorized"


def test_api_requires_a_valid_key_and_everything_else_does_not(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    some = "01a21053-8a52-7156-bc2b-3e5cf2fcbf2c"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            place = path
            for parameter in operation.get("parameters", []):
                place = place.replace(f"{{{parameter['name']}}}", some)
            closed = path.startswith("/api/") and (method, path) != ("delete", SESSION)
            reply = client.request(method, place)
            assert (reply.status_code == 401) == closed, (method, path, reply.status_code)
    wrong = f"vk_00000000_{'a' * 43}"
    for headers in ({}, bearer("x"), bearer(wrong), {"x-api-key": wrong}, {"cookie": "session=x"}):
        assert client.get(VIDEOS, headers=headers).status_code == 401
    assert client.get("/").status_code == 200


def test_session_cookie_is_read_only_and_hidden_from_scripts(
    client: TestClient, keys: Keys
) -> None:
    key = keys("create", "page")
    cookie = client.post(SESSION, headers=bearer(key)).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/api/v1"} <= set(cookie.split("; "))
    assert key not in cookie
    assert client.get(VIDEOS).status_code == 200
    for method, path in (("DELETE", f"{VIDEOS}/{'0' * 32}"), ("POST", VIDEOS), ("POST", SESSION)):
        assert client.request(method, path).status_code == 401
    value = client.cookies["session"]
    client.cookies.clear()
    for wrong in (value[:-1], value + "A", value.swapcase(), "", '"', "x" * 4000):
        assert client.get(VIDEOS, headers={"cookie": f"session={wrong}"}).status_code == 401
    assert client.get(VIDEOS, headers={"cookie": f"session={value}"}).status_code == 200


def test_nothing_in_the_database_is_a_valid_cookie(
    client: TestClient, keys: Keys, migrated_url: str
) -> None:
    key = keys("create", "page")
    client.post(SESSION, headers=bearer(key))
    client.cookies.clear()
    engine = make_engine(load_settings({"database_url": SecretStr(migrated_url)}).sqlalchemy_url())
    with engine.connect() as connection:
        stored = [
            str(value)
            for table in ("api_keys", "sessions")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
            for value in row
        ]
        (key_hash,) = connection.scalars(text("SELECT hash FROM api_keys"))
    engine.dispose()
    # As older versions signed their cookies: with the stored hash of the key.
    prefix, expiry = key[3:11], str(int(time.time()) + 3600)
    message = f"session {prefix} {expiry}".encode()
    signature = hmac.new(key_hash.encode(), message, hashlib.sha256).hexdigest()
    for forged in (*stored, f"{prefix}.{expiry}.{signature}"):
        for name in ("session", "__Host-session"):
            reply = client.get(VIDEOS, headers={"cookie": f"{name}={forged}"})
            assert reply.status_code == 401, forged
        assert client.get(VIDEOS, headers=bearer(forged)).status_code == 401


def test_session_ends_at_log_out_with_its_key_and_after_twelve_hours(
    client: TestClient, keys: Keys, migrated_url: str
) -> None:
    key, other = (keys("create", "a") for _ in range(2))

    def start(key: str) -> dict[str, str]:
        client.cookies.clear()
        client.post(SESSION, headers=bearer(key))
        value = client.cookies["session"]
        client.cookies.clear()
        return {"cookie": f"session={value}"}

    def works(session: dict[str, str]) -> bool:
        return client.get(VIDEOS, headers=session).status_code == 200

    first, second, third = start(key), start(key), start(other)
    assert all(map(works, (first, second, third)))
    # Whoever has copied the cookie cannot use it any more either.
    ended = client.delete(SESSION, headers=first)
    assert ended.status_code == 204
    assert {"session", "__Host-session"} == {
        cookie.partition("=")[0] for cookie in ended.headers.get_list("set-cookie")
    }
    assert list(map(works, (first, second, third))) == [False, True, True]
    keys("revoke", key[3:11])
    assert list(map(works, (first, second, third))) == [False, False, True]
    # A browser that starts a new session ends its old one.
    assert client.post(SESSION, headers=bearer(other) | third).status_code == 204
    fourth = {"cookie": f"session={client.cookies['session']}"}
    client.cookies.clear()
    assert list(map(works, (third, fourth))) == [False, True]
    engine = make_engine(load_settings({"database_url": SecretStr(migrated_url)}).sqlalchemy_url())
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM sessions")) == 1
        connection.execute(update(BrowserSession).values(expires_at=utc_now()))
    assert not works(fourth)
    start(other)
    with engine.connect() as connection:  # expired ones do not pile up
        assert connection.scalar(text("SELECT count(*) FROM sessions")) == 1
    engine.dispose()


@pytest.mark.parametrize("proof", ["scheme", "origin"])
def test_cookie_over_tls_belongs_to_this_host_alone(
    proof: str, client: TestClient, keys: Keys
) -> None:
    key = keys("create", "page")
    if proof == "scheme":
        client.base_url = "https://films.example"
        headers = {}
    else:  # behind a proxy that ends TLS
        headers = {"origin": "https://films.example", "sec-fetch-site": "same-origin"}
    cookie = client.post(SESSION, headers=bearer(key) | headers).headers["set-cookie"]
    first, *attributes = cookie.split("; ")
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Secure"} <= set(attributes)
    assert not any(attribute.lower().startswith("domain") for attribute in attributes)
    name, _, value = first.partition("=")
    assert name == "__Host-session"
    # Another host of the domain may have set the plain one.
    sent = {"cookie": f"session=planted; __Host-session={value}"}
    client.cookies.clear()
    assert client.get(VIDEOS, headers=sent).status_code == 200
    assert client.delete(SESSION, headers=sent | headers).status_code == 204
    assert client.get(VIDEOS, headers=sent).status_code == 401


def test_log_lines_say_who_asked(
    client: TestClient,
    keys: Keys,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = keys("create", "page")
    with caplog.at_level(logging.INFO, logger="app"):
        lines: list[dict[str, object]] = []
        monkeypatch.setattr(
            caplog.handler,
            "emit",
            lambda record: lines.append(json.loads(JsonFormatter().format(record))),
        )
        client.get(VIDEOS)
        client.get(VIDEOS, headers=bearer(key))
        client.post(SESSION, headers={"x-api-key": key})
        client.get(VIDEOS)
        client.delete(f"{VIDEOS}/{'0' * 32}", headers=bearer(key))
    ended = [line for line in lines if line.get("event") == "request.ended"]
    assert [line["status"] for line in ended] == [401, 200, 204, 200, 404]
    assert {line["client"] for line in ended} == {"testclient"}
    assert [line.get("key") for line in ended] == [None, *[key[3:11]] * 4]
    assert key not in json.dumps(lines)


def new_key(client: TestClient, **options: Any) -> str:
    """Create a key, faster than the command does."""
    database = client.app.state.context.database  # type: ignore[attr-defined]
    with database.writing() as session:
        return key_service.create(session, name="a", **options).text


def quota_clips(clip_dir: Path, number: int) -> list[bytes]:
    source = clips.brightness(clip_dir / "quota.mp4", colour="teal")
    return [clips.variant(source, each) for each in range(number)]


def test_quotas_of_a_key(client: TestClient, clip_dir: Path) -> None:
    contents = quota_clips(clip_dir, 3)
    size = len(contents[0])
    key, other = new_key(client, max_bytes=2 * size, max_jobs=0), new_key(client)

    def upload(number: int, query: str = "?analyse=false") -> Any:
        files = {"file": ("a.mp4", contents[number])}
        return client.post(VIDEOS + query, files=files, headers=bearer(key))

    def announce(length: int) -> int:
        headers = bearer(key) | {"Tus-Resumable": "1.0.0", "Upload-Length": str(length)}
        return int(client.post("/api/v1/uploads", headers=headers).status_code)

    first = upload(0)
    assert first.status_code == 201
    # Nothing is stored if its analysis cannot be queued.
    refused = upload(1, "")
    assert (refused.status_code, "0 unfinished analyses" in refused.json()["detail"]) == (429, True)
    analyses = f"{first.headers['location']}/analyses"
    assert client.post(analyses, headers=bearer(key)).status_code == 429
    # What is announced counts.
    assert [announce(size + 1), announce(size), announce(1)] == [507, 201, 507]
    assert upload(1).status_code == 201
    full = upload(2)
    assert (full.status_code, full.json()["type"]) == (507, "urn:problem:quota")
    assert f"stored {2 * size} of {2 * size} bytes" in full.json()["detail"]
    assert upload(0).status_code == 200  # stored already
    assert client.delete(first.headers["location"], headers=bearer(other)).status_code == 204
    assert upload(2).status_code == 201


def test_quota_counts_requests_that_come_at_the_same_time(
    client: TestClient, clip_dir: Path
) -> None:
    contents = quota_clips(clip_dir, 6)
    key = new_key(client, max_bytes=2 * len(contents[0]))

    def upload(content: bytes) -> int:
        files = {"file": ("a.mp4", content)}
        reply = client.post(f"{VIDEOS}?analyse=false", files=files, headers=bearer(key))
        return int(reply.status_code)

    with ThreadPoolExecutor(len(contents)) as pool:
        assert sorted(pool.map(upload, contents)) == [201, 201, *[507] * 4]


def test_keys_command_sets_quotas(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", migrated_url)
    assert command.main(["create", "camera", "--max-bytes", "1KiB", "--max-jobs", "5"]) == 0
    prefix = capsys.readouterr().out[3:11]
    assert command.main(["list"]) == 0
    assert "bytes=1024 jobs=5\tcamera" in capsys.readouterr().out
    assert command.main(["limit", prefix, "--max-jobs", "0"]) == 0
    assert capsys.readouterr().out.strip() == f"{prefix} (camera): bytes=default jobs=0"
    assert command.main(["limit", "nothere1"]) == 1
    assert "no key has the prefix 'nothere1'" in capsys.readouterr().err
    for option, value, words in (
        ("--max-bytes", "lots", "'lots' is not a size, such as 512MiB"),
        ("--max-bytes", "9EiB", "'9EiB' is not a possible size"),
        ("--max-jobs", "few", "'few' is not a number of analyses"),
    ):
        with pytest.raises(SystemExit, match="2"):
            command.main(["create", "a", option, value])
        assert words in capsys.readouterr().err


def test_keys_command_reports_errors(
    tmp_path: Path,
    migrated_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", migrated_url)
    for arguments, words in (
        (["revoke", "nothere1"], "no key has the prefix 'nothere1'"),
        (["create", ""], "1 to 100 printable characters"),
    ):
        assert command.main(arguments) == 1
        assert words in capsys.readouterr().err
    finished = keys_program(tmp_path, f"sqlite:///{tmp_path}/empty.db", "list")
    assert (finished.returncode, "has it been migrated?" in finished.stderr) == (1, True)
