"""Webhooks end to end: who may manage them, what the API says, processes that are killed."""

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from tests.support import rows, servers, web
from tests.support.receiver import Receiver, receiving, status
from tests.support.servers import eventually

from app.api.application import create_app
from app.api.webhook_messages import MESSAGES
from app.cli import keys as command
from app.db import Database
from app.services.outbox import TEST, EventType
from app.settings import load_settings

WEBHOOKS = "/api/v1/webhooks"
VIDEOS = "/api/v1/videos"
ON = {"WEBHOOK_HOSTS": "localhost", "WEBHOOK_PRIVATE_ADDRESSES": "true"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def client(request: pytest.FixtureRequest, tmp_path: Path, migrated_url: str) -> Iterator[Any]:
    settings = load_settings(
        {
            "data_dir": tmp_path / "data",
            "database_url": SecretStr(migrated_url),
            "require_api_key": getattr(request, "param", False),
            "webhook_hosts": ("localhost",),
            "webhook_private_addresses": True,
        }
    )
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


def create(client: Any, url: str, *events: str) -> dict[str, Any]:
    body = {"url": url} | ({"events": events} if events else {})
    reply = client.post(WEBHOOKS, json=body)
    assert reply.status_code == 201, reply.text
    created: dict[str, Any] = reply.json()
    return created


def test_webhook_is_managed_over_http(client: TestClient, receiver: Receiver) -> None:
    receiver.responses["/"] = [status(204), status(400)]
    created = create(client, f"{receiver.url}/")
    path = f"{WEBHOOKS}/{created['id']}"
    assert created["events"] == list(EventType)
    sent = client.post(f"{path}/test")
    assert sent.status_code == 202
    assert sent.json()["event"] == TEST
    listing = f"{path}/deliveries"

    def settled(number: int) -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = client.get(listing).json()["deliveries"]
        done = [each for each in found if each["response_status"]]
        return found if len(done) == number else None

    (delivery,) = eventually(lambda: settled(1))
    assert (delivery["status"], delivery["attempts"], delivery["response_status"]) == (
        "delivered", 1, 204,
    )  # fmt: skip
    assert delivery["message_id"] == receiver.received[0].id
    detail = client.get(f"{listing}/{delivery['id']}").json()
    assert detail["body"].encode() == receiver.received[0].body
    again = client.post(f"{listing}/{delivery['id']}/redeliver")
    assert again.status_code == 202
    assert again.json()["attempts"] == 0
    eventually(lambda: len(receiver.received) == 2)
    assert receiver.received[1].id == receiver.received[0].id
    failed = eventually(lambda: client.get(listing, params={"status": "pending"}).json())
    assert client.get(listing, params={"status": "failed"}).json()["deliveries"] == []
    assert failed["next_cursor"] is None
    changed = client.patch(path, json={"enabled": False, "events": ["video.stored"]}).json()
    assert (changed["status"], changed["events"]) == ("disabled", ["video.stored"])
    for place in (f"{path}/test", f"{listing}/{delivery['id']}/redeliver"):
        reply = client.post(place)
        assert reply.status_code == 409
        assert "is disabled; enable it first" in reply.json()["detail"]
    rotated = client.post(f"{path}/secret", json={"overlap": 0}).json()
    assert rotated["previous_secret_until"] is None
    assert rotated["secret"] != created["secret"]
    # A secret is in no other response.
    texts = [client.get(place).text for place in (WEBHOOKS, path, listing)]
    assert not [text for text in texts if "whsec_" in text or "secret_hash" in text]
    assert client.get(WEBHOOKS).json()["webhooks"] == [client.get(path).json()]
    assert client.delete(path).status_code == 204
    assert client.get(WEBHOOKS).json() == {"webhooks": []}
    unknown = f"{listing}/{uuid.uuid4()}"
    for method, place in (("GET", path), ("GET", listing), ("DELETE", path), ("GET", unknown)):
        reply = client.request(method, place)
        assert reply.status_code == 404
        assert reply.json()["title"] == "Webhook not found"


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_invalid_webhook_is_refused(client: TestClient) -> None:
    for body, code, words in (
        ({"url": "https://hooks.example/"}, 403, "hooks.example is not in WEBHOOK_HOSTS."),
        ({"url": "ftp://localhost/"}, 403, "Only plain http:// and https:// URLs are allowed."),
        ({"url": "http://localhost/\0"}, 403, "Only plain http:// and https:// URLs are allowed."),
        ({"url": "http://localhost/", "events": []}, 422, "at least 1 item"),
        ({"url": "http://localhost/", "events": ["video.eaten"]}, 422, "'motion.found'"),
        ({"url": ""}, 422, "at least 1 character"),
        ({"url": "http://localhost/" + "x" * 2000}, 422, "at most 2000 characters"),
        ({}, 422, "Field required"),
    ):
        reply = client.post(WEBHOOKS, json=body)
        assert reply.status_code == code, body
        assert words in str(reply.json()), body


@pytest.mark.parametrize("client", [True], indirect=True)
def test_only_keys_that_may_administer_manage_webhooks(
    client: TestClient, migrated_url: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("DATABASE_URL", migrated_url)
    keys = {}
    for name, options in (("reader", []), ("chief", ["--admin"])):
        assert command.main(["create", name, *options]) == 0
        keys[name] = {"x-api-key": capsys.readouterr().out.strip()}
    assert command.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" admin" in line for line in lines[1:]] == [False, True]
    document = client.get("/openapi.json").json()
    found = {
        (method, path.format(webhook_id=uuid.uuid4(), delivery_id=uuid.uuid4()))
        for path, methods in document["paths"].items()
        for method in methods
        if path.startswith(WEBHOOKS)
    }
    assert len(found) == 10
    for method, path in found:
        assert client.request(method, path).status_code == 401
        reply = client.request(method, path, headers=keys["reader"], json={})
        assert reply.status_code == 403, (method, path)
        assert "--admin" in reply.json()["detail"]
    assert client.get(VIDEOS, headers=keys["reader"]).status_code == 200
    body = {"url": "http://localhost/"}
    assert client.post(WEBHOOKS, headers=keys["chief"], json=body).status_code == 201
    # A browser's session only reads.
    assert client.post("/api/v1/session", headers=keys["chief"]).status_code == 204
    assert len(client.get(WEBHOOKS).json()["webhooks"]) == 1
    assert client.post(WEBHOOKS, json=body).status_code == 401


def test_nothing_of_webhooks_exists_unless_they_are_on(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path})
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        assert client.get(WEBHOOKS).status_code == 404
        assert "ebhook" not in client.get("/openapi.json").text
        assert "ebhook" not in client.get("/").text
    assert not list(tmp_path.glob("webhooks*"))


def test_messages_are_as_the_openapi_document_says(
    client: TestClient, receiver: Receiver, database: Database
) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["webhooks"]) == {*EventType, TEST}
    headers = {"webhook-id", "webhook-timestamp", "webhook-signature"}
    for name, operations in document["webhooks"].items():
        operation = operations["post"]
        assert {each["name"] for each in operation["parameters"]} == headers
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        described = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        assert described["properties"]["type"]["const"] == name
        assert set(operation["responses"]) == {"204", "410", "429", "default"}
    created = create(client, f"{receiver.url}/")
    client.post(f"{WEBHOOKS}/{created['id']}/test")
    rows.analysed(database, events=2)
    failed = rows.analysed(database, events=None)
    assert client.delete(f"{VIDEOS}/{failed}").status_code == 204
    known = {model.model_fields["type"].annotation.__args__[0]: model for model in MESSAGES}  # type: ignore[union-attr]
    eventually(lambda: {each.json()["type"] for each in receiver.received} == set(known))
    for each in receiver.received:
        message = each.json()
        model = known[message["type"]]
        # Everything is described, and everything described is there.
        assert model.model_validate_json(each.body).model_dump(mode="json") == message


def upload(url: str, clip: Path) -> None:
    with clip.open("rb") as file:
        web.post(url + VIDEOS, files={"file": (clip.name, file)}, timeout=60).raise_for_status()


def kinds(receiver: Receiver) -> set[str]:
    return {each.json()["type"] for each in receiver.received}


def test_message_of_a_killed_service_is_sent_again_with_the_same_id(
    tmp_path: Path, receiver: Receiver, clip: Path
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    variables = ON | {"WEBHOOK_TIMEOUT": "1"}
    release = threading.Event()
    receiver.responses["/"] = [lambda _: release.wait(60)]
    with servers.api(data, log=log, variables=variables) as (url, process):
        with web.Client(base_url=url) as client:
            created = create(client, f"{receiver.url}/", "video.stored", "analysis.done")
        upload(url, clip)
        eventually(lambda: receiver.received)
        process.kill()
        assert created["secret"] not in log.read_text()
    release.set()
    with servers.api(data, log=log, variables=variables) as (url, process):
        eventually(lambda: kinds(receiver) == {"video.stored", "analysis.done"})
        process.stop()
    ids = [each.id for each in receiver.received]
    assert ids[0] in ids[1:]
    assert len(ids) == len(set(ids)) + 1
    assert all(each.signed_with(created["secret"]) for each in receiver.received)
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    logged = [line for line in lines if line.get("event") == "delivery.done"]
    assert len(logged) == 2
    assert not [text for text in (created["secret"], receiver.url) if text in log.read_text()]


def test_celery_worker_only_writes_what_the_api_sends(
    tmp_path: Path, receiver: Receiver, clip: Path, redis_url: str
) -> None:
    data = tmp_path / "data"
    variables = ON | {"REDIS_URL": redis_url}
    with (
        servers.api(data, log=tmp_path / "api", variables=variables) as (url, _),
        servers.celery_worker(data, log=tmp_path / "w", variables={"REDIS_URL": redis_url}),
    ):
        with web.Client(base_url=url) as client:
            create(client, receiver.url, "analysis.done", "motion.found")
        upload(url, clip)
        eventually(lambda: kinds(receiver) == {"analysis.done", "motion.found"}, timeout=120)
