"""API keys end to end on both databases: creation, authentication, sessions, revocation."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from tests.support.servers import BACKEND, service_environment

from app.api.application import create_app
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


def keys(tmp_path: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli.keys", *arguments],
        cwd=BACKEND,
        env=service_environment(tmp_path, DATABASE_URL=url),
        capture_output=True,
        text=True,
        check=False,
    )


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_key_grants_access_until_it_is_revoked(
    client: TestClient, tmp_path: Path, migrated_url: str
) -> None:
    key = keys(tmp_path, migrated_url, "create", "front door").stdout.strip()
    assert client.get(VIDEOS, headers=bearer(key)).status_code == 200
    assert client.get(VIDEOS, headers={"x-api-key": key}).status_code == 200
    listing = keys(tmp_path, migrated_url, "list").stdout
    assert key[3:11] in listing
    assert "front door" in listing
    assert key not in listing
    assert client.post(SESSION, headers=bearer(key)).status_code == 204
    assert client.get(VIDEOS).status_code == 200
    assert keys(tmp_path, migrated_url, "revoke", key[3:11]).returncode == 0
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
    client: TestClient, tmp_path: Path, migrated_url: str
) -> None:
    key = keys(tmp_path, migrated_url, "create", "page").stdout.strip()
    cookie = client.post(SESSION, headers=bearer(key)).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/api/v1"} <= set(cookie.split("; "))
    assert key not in cookie
    assert client.get(VIDEOS).status_code == 200
    for method, path in (("DELETE", f"{VIDEOS}/{'0' * 32}"), ("POST", VIDEOS), ("POST", SESSION)):
        assert client.request(method, path).status_code == 401
    value = client.cookies["session"]
    prefix, expiry, signature = value.split(".")
    client.cookies.clear()
    later = f"{prefix}.{int(expiry) + 1}.{signature}"
    past = f"{prefix}.1.{signature}"
    for forged in (later, past, value[:-1]):
        assert client.get(VIDEOS, headers={"cookie": f"session={forged}"}).status_code == 401
    assert client.get(VIDEOS, headers={"cookie": f"session={value}"}).status_code == 200
    client.post(SESSION, headers=bearer(key))
    assert client.get(VIDEOS).status_code == 200
    assert client.delete(SESSION).status_code == 204
    assert client.get(VIDEOS).status_code == 401


def test_keys_command_reports_errors(tmp_path: Path, migrated_url: str) -> None:
    for arguments, words in (
        (("revoke", "nothere1"), "no key has the prefix 'nothere1'"),
        (("create", ""), "1 to 100 printable characters"),
    ):
        finished = keys(tmp_path, migrated_url, *arguments)
        assert finished.returncode == 1
        assert words in finished.stderr
    finished = keys(tmp_path, f"sqlite:///{tmp_path}/empty.db", "list")
    assert (finished.returncode, "has it been migrated?" in finished.stderr) == (1, True)
