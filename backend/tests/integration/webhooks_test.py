"""Deliveries to a real server, on both databases: signed, repeated, bounded, one at a time."""

import re
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import SQLAlchemyError
from tests.support import certificates, rows
from tests.support.receiver import Receiver, Respond, receiving, status
from tests.support.servers import eventually

from app.db import Database
from app.errors import ConflictError, ForbiddenWebhookError
from app.models import DeliveryStatus, Webhook, WebhookDelivery, WebhookStatus
from app.models.base import utc_now
from app.services import analyses, deliveries, leases, videos, webhooks
from app.services.deliveries import BACKOFF, JITTER, MAX_ATTEMPTS, PAUSE_AFTER
from app.services.fetch import FetchRules
from app.services.outbox import EventType
from app.services.sending import Sender
from app.services.signing import SigningKey
from app.services.webhooks import MAX_WEBHOOKS, NewSecret
from app.video import Parameters
from app.worker.deliverer import Deliverer

SECOND = timedelta(seconds=1)
# For what has nothing to do with the database.
on_sqlite = pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
RULES = FetchRules(
    hosts=("localhost",), private_addresses=True, timeout=1, settings="WEBHOOK", tls=True, idle=1
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@dataclass
class Office:
    """A service without HTTP: a database, a clock that stands still, and what sends."""

    database: Database
    key: SigningKey
    rules: FetchRules = RULES
    now: datetime = field(default_factory=utc_now)

    def deliverer(self) -> Deliverer:
        sender = Sender(self.key, self.rules, agent="video-events/test")
        return Deliverer(database=self.database, sender=sender, clock=lambda: self.now)

    def deliver(self, *, after: timedelta = timedelta(0)) -> None:
        """Send all that is due some time later."""
        self.now += after
        deliverer = self.deliverer()
        deliverer.step()
        deliverer.wait(20)

    def add(self, url: str, *events: EventType) -> NewSecret:
        with self.database.writing() as session:
            return webhooks.create(session, url=url, events=events or list(EventType), key=self.key)

    def test(self, webhook_id: uuid.UUID) -> uuid.UUID:
        with self.database.writing() as session:
            webhook = webhooks.get(session, webhook_id=webhook_id)
            return deliveries.test(session, webhook=webhook, now=self.now).id

    def webhook(self, webhook_id: uuid.UUID) -> Webhook:
        with self.database.reading() as session:
            return webhooks.get(session, webhook_id=webhook_id)

    def all(self) -> list[WebhookDelivery]:
        with self.database.reading() as session:
            return list(session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)))

    def enable(self, webhook_id: uuid.UUID, *, enabled: bool = True) -> None:
        with self.database.writing() as session:
            webhooks.change(
                session, webhook_id=webhook_id, url=None, events=None, enabled=enabled,
                now=self.now,
            )  # fmt: skip


@pytest.fixture
def office(database: Database, tmp_path: Path) -> Office:
    return Office(database, SigningKey(tmp_path))


def test_messages_tell_of_what_happened_to_whoever_wants_it(
    office: Office, receiver: Receiver
) -> None:
    rows.video(office.database)
    assert office.all() == []  # there is nobody to tell
    everything = office.add(f"{receiver.url}/all")
    office.add(f"{receiver.url}/failed", EventType.ANALYSIS_FAILED)
    disabled = office.add(f"{receiver.url}/disabled")
    office.enable(disabled.webhook.id, enabled=False)
    video_id = rows.analysed(office.database, events=60, now=office.now)
    quiet = rows.analysed(office.database, events=0, now=office.now)
    failed = analysed_badly(office)
    with office.database.writing() as session:
        videos.delete(session, video_id=video_id)
    office.deliver(after=60 * SECOND)
    sent = [each.json() for each in receiver.to("/all")]
    assert [message["type"] for message in sent] == [
        "video.stored", "analysis.done", "motion.found", "video.stored", "analysis.done",
        "video.stored", "analysis.failed", "video.deleted",
    ]  # fmt: skip
    assert {message["version"] for message in sent} == {1}
    motion = sent[2]["data"]
    assert motion["video"]["id"] == str(video_id)
    assert (motion["analysis"]["event_count"], len(motion["events"])) == (60, 50)
    assert motion["events"][1]["start_time"] == 1.0
    assert sent[4]["data"]["video"]["id"] == str(quiet)
    assert sent[4]["data"]["analysis"]["event_count"] == 0
    assert max(len(each.body) for each in receiver.received) < 20_000
    (bad,) = receiver.to("/failed")
    assert bad.json()["data"]["analysis"]["id"] == str(failed)
    assert "gave up" in bad.json()["data"]["analysis"]["reason"]
    assert receiver.to("/disabled") == []
    for each in receiver.to("/all"):
        assert each.signed_with(everything.secret)
        assert each.is_recent()
        assert each.headers["content-type"] == "application/json"
        assert each.headers["user-agent"] == "video-events/test"
    assert len({each.id for each in receiver.received}) == len(receiver.received)
    assert {each.status for each in office.all()} == {DeliveryStatus.DELIVERED}


def analysed_badly(office: Office) -> uuid.UUID:
    """Let an analysis lose its worker once too often; return its id."""
    video_id = rows.video(office.database)
    with office.database.writing() as session:
        analysis, _ = analyses.request(session, video_id=video_id, parameters=Parameters())
    for _ in range(2):
        with office.database.writing() as session:
            leases.claim(
                session, analysis_id=analysis.id, now=office.now, lease=-SECOND, max_attempts=1
            )
    return analysis.id


def test_message_is_written_if_and_only_if_what_it_tells_of_is(office: Office) -> None:
    office.add("http://localhost/")
    video_id = rows.video(office.database)
    assert [each.event for each in office.all()] == ["video.stored"]
    with office.database.writing() as session:
        videos.delete(session, video_id=video_id)
        session.rollback()
    assert len(office.all()) == 1


def test_secret_can_be_replaced_while_both_are_valid(office: Office, receiver: Receiver) -> None:
    old = office.add(receiver.url)
    webhook_id = old.webhook.id
    with office.database.writing() as session:
        new = webhooks.rotate(
            session, webhook_id=webhook_id, key=office.key, overlap=60 * SECOND, now=office.now
        )
    for after in (SECOND, 60 * SECOND):
        office.test(webhook_id)
        office.deliver(after=after)
    during, afterwards = receiver.received
    assert during.signed_with(old.secret)
    assert during.signed_with(new.secret)
    assert afterwards.signed_with(new.secret)
    assert not afterwards.signed_with(old.secret)
    stored = {str(value) for value in vars(office.webhook(webhook_id)).values()}
    assert not {old.secret, new.secret} & stored


@on_sqlite
def test_replaced_key_is_noticed_before_anything_is_signed_with_it(
    office: Office, receiver: Receiver, tmp_path: Path
) -> None:
    webhook_id = office.add(receiver.url).webhook.id
    (path,) = tmp_path.glob("webhooks.key*")
    assert path.stat().st_mode & 0o777 == 0o600
    original = path.read_bytes()
    for damage, words in (
        (lambda: path.write_bytes(b"x" * 32), "has been replaced"),
        (path.unlink, "cannot be read (No such file or directory)"),
    ):
        path.write_bytes(original)
        damage()
        delivery_id = office.test(webhook_id)
        office.deliver(after=SECOND)
        webhook = office.webhook(webhook_id)
        assert webhook.status is WebhookStatus.PAUSED
        assert webhook.reason is not None
        assert words in webhook.reason
        assert receiver.received == []
        path.write_bytes(original)
        office.enable(webhook_id)
        office.deliver(after=SECOND)
        assert receiver.received.pop().id == f"msg_{delivery_id.hex}"


def test_message_is_repeated_with_the_same_id_until_it_is_accepted(
    office: Office, receiver: Receiver
) -> None:
    receiver.responses["/"] = [status(500), status(404)]
    new = office.add(f"{receiver.url}/")
    office.test(new.webhook.id)
    office.deliver()
    (delivery,) = office.all()
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 1)
    assert (delivery.response_status, delivery.error) == (500, "Status 500.")
    assert delivery.response_time is not None
    assert delivery.next_attempt_at is not None
    assert abs(delivery.next_attempt_at - office.now - BACKOFF[0]) <= BACKOFF[0] * JITTER
    office.deliver(after=BACKOFF[0] * (1 - JITTER) - SECOND)  # too early
    assert len(receiver.received) == 1
    office.deliver(after=BACKOFF[0])
    office.deliver(after=BACKOFF[1] * (1 + JITTER))
    (delivery,) = office.all()
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.DELIVERED, 3)
    assert (delivery.response_status, delivery.error) == (204, None)
    first, second, third = receiver.received
    assert first.id == second.id == third.id
    assert first.body == second.body == third.body
    assert third.signed_with(new.secret)
    times = [int(each.headers["webhook-timestamp"]) for each in receiver.received]
    assert times == sorted(set(times))
    assert office.webhook(new.webhook.id).failing_since is None


def test_message_fails_after_ten_attempts_and_the_webhook_is_paused_after_three_days(
    office: Office, receiver: Receiver
) -> None:
    receiver.responses["/"] = [status(503)] * 2 * MAX_ATTEMPTS
    webhook_id = office.add(f"{receiver.url}/").webhook.id
    office.test(webhook_id)
    for wait in (timedelta(0), *BACKOFF):
        office.deliver(after=wait * (1 + JITTER))
    (delivery,) = office.all()
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.FAILED, MAX_ATTEMPTS)
    assert len(receiver.received) == MAX_ATTEMPTS
    webhook = office.webhook(webhook_id)
    assert webhook.status is WebhookStatus.ACTIVE
    assert webhook.failing_since is not None
    pending = office.test(webhook_id)
    office.deliver(after=PAUSE_AFTER)
    webhook = office.webhook(webhook_id)
    assert webhook.status is WebhookStatus.PAUSED
    assert webhook.reason == (
        f"Nothing could be delivered since {webhook.failing_since:%Y-%m-%d %H:%M} UTC."
    )
    rows.video(office.database)
    office.deliver(after=PAUSE_AFTER)
    assert len(receiver.received) == MAX_ATTEMPTS + 1
    with pytest.raises(ConflictError, match="is paused; enable it first"):
        office.test(webhook_id)
    # Enabled again, it gets what was pending, and nothing of what happened meanwhile.
    receiver.responses.clear()
    office.enable(webhook_id)
    office.deliver()
    assert [each.id for each in receiver.received[MAX_ATTEMPTS + 1 :]] == [f"msg_{pending.hex}"]
    # What has failed for good can be sent again.
    with office.database.writing() as session:
        webhook = webhooks.get(session, webhook_id=webhook_id)
        deliveries.send_again(session, webhook=webhook, delivery_id=delivery.id, now=office.now)
    office.deliver()
    assert receiver.received[-1].id == receiver.received[0].id
    assert {each.status for each in office.all()} == {DeliveryStatus.DELIVERED}


def test_endpoint_that_is_gone_is_paused_at_once(office: Office, receiver: Receiver) -> None:
    receiver.responses["/"] = [status(410)]
    webhook_id = office.add(f"{receiver.url}/").webhook.id
    office.test(webhook_id)
    office.test(webhook_id)
    office.deliver()
    assert len(receiver.received) == 1
    webhook = office.webhook(webhook_id)
    assert webhook.status is WebhookStatus.PAUSED
    assert webhook.reason == "The endpoint responded with status 410 (gone)."


@on_sqlite
@pytest.mark.parametrize("form", ["seconds", "date", "nonsense", "years"])
def test_retry_after_is_obeyed(form: str, office: Office, receiver: Receiver) -> None:
    office.now = office.now.replace(microsecond=0)
    value, wait = {
        "seconds": ("600", 600 * SECOND),
        "date": (format_datetime(office.now + 600 * SECOND, usegmt=True), 600 * SECOND),
        "nonsense": ("soon", BACKOFF[0] * (1 + JITTER)),
        "years": ("9" * 40, timedelta(days=1)),
    }[form]
    receiver.responses["/"] = [status(429, Retry_After=value)]
    webhook_id = office.add(f"{receiver.url}/").webhook.id
    first, second = office.test(webhook_id), office.test(webhook_id)
    office.deliver()
    # Not even another message.
    office.deliver(after=min(wait, BACKOFF[0] * (1 - JITTER)) - SECOND)
    if form != "nonsense":
        office.deliver(after=wait - BACKOFF[0])
    assert len(receiver.received) == 1
    office.deliver(after=BACKOFF[0] * 2)
    assert [each.id for each in receiver.received] == [
        f"msg_{each.hex}" for each in (first, first, second)
    ]


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
    while True:
        handler.wfile.write(b"x")
        threading.Event().wait(0.1)


def garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 9)


def close(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.close()


@on_sqlite
@pytest.mark.parametrize(
    ("respond", "words"),
    [
        pytest.param(endless, None, id="endless body"),
        pytest.param(status(201), None, id="created"),
        pytest.param(drip, r"No response from localhost: timed out\.", id="slow"),
        pytest.param(garbage, r"No response from localhost: BadStatusLine\.", id="garbage"),
        pytest.param(close, "No response from localhost: ", id="closed"),
        pytest.param(status(304), r"Status 304\. Redirects are not followed", id="not modified"),
        pytest.param(
            status(307, Location="http://169.254.169.254/latest/meta-data"),
            r"Status 307\. Redirects are not followed; change the webhook's URL\.",
            id="redirect to a private address",
        ),
    ],
)
def test_response(respond: Respond, words: str | None, office: Office, receiver: Receiver) -> None:
    receiver.responses["/a"] = [respond]
    office.test(office.add(f"{receiver.url}/a").webhook.id)
    office.deliver()
    (delivery,) = office.all()
    if words is None:
        assert delivery.status is DeliveryStatus.DELIVERED
    else:
        assert delivery.status is DeliveryStatus.PENDING
        assert delivery.error is not None
        assert pytest.approx(0, abs=2) == delivery.response_time
        assert re.match(words, delivery.error), delivery.error
    assert len(receiver.received) == 1


@on_sqlite
@pytest.mark.parametrize("trusted", [True, False])
def test_only_a_trusted_certificate_is_accepted(
    trusted: bool, office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, certificate = certificates.make(tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    office.rules = replace(RULES, timeout=30)
    with receiving(context) as receiver:
        office.test(office.add(receiver.url).webhook.id)
        office.deliver()
        (delivery,) = office.all()
        assert len(receiver.received) == trusted
    error = "Cannot connect to localhost: untrusted certificate (self-signed certificate)."
    assert delivery.error == (None if trusted else error)


@on_sqlite
def test_server_without_tls_is_reported(office: Office, receiver: Receiver) -> None:
    office.test(office.add(receiver.url.replace("http:", "https:")).webhook.id)
    office.deliver()
    (delivery,) = office.all()
    assert str(delivery.error).startswith("Cannot connect to localhost: ")
    assert receiver.received == []


@on_sqlite
@pytest.mark.parametrize(
    ("url", "rules", "words"),
    [
        ("http://localhost:{port}/", {"private_addresses": False}, "to a non-public address; WEBH"),
        ("http://[::ffff:127.0.0.1]:{port}/", {"private_addresses": False}, "to a non-public addr"),
        ("http://2130706433:{port}/", {"private_addresses": False}, "to a non-public address"),
        ("http://93.184.216.34/", {}, r"resolves to a public address; use https://\."),
        ("http://localhost:{port}/", {"hosts": ("hooks.example",)}, "is not in WEBHOOK_HOSTS"),
        ("http://user:pass@localhost:{port}/", {}, "user name or password"),
        ("file:///etc/passwd", {}, "Only plain http:// and https:// URLs are allowed"),
        ("http://[", {}, "Not a valid"),
    ],
)
def test_forbidden_address_is_refused_when_it_is_given_and_when_it_is_connected_to(
    url: str, rules: dict[str, Any], words: str, office: Office, receiver: Receiver
) -> None:
    wanted = url.format(port=receiver.url.rsplit(":", 1)[1])
    office.rules = replace(RULES, **({"hosts": ("*",)} | rules))
    with pytest.raises(ForbiddenWebhookError, match=words):
        webhooks.check_url(wanted, rules=office.rules)
    # As if its name had led elsewhere when it was given, or the rules had been others.
    office.test(office.add(wanted).webhook.id)
    office.deliver()
    (delivery,) = office.all()
    assert delivery.error is not None
    assert re.search(words, delivery.error)
    assert receiver.received == []


@on_sqlite
def test_name_that_changes_between_check_and_connection_leads_nowhere(
    office: Office, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.rules = replace(RULES, hosts=("hooks.example",), private_addresses=False)
    port = int(receiver.url.rsplit(":", 1)[1])
    answers = ["93.184.216.34", "127.0.0.1"]

    def look_up(*_: Any, **__: Any) -> list[Any]:
        address = (answers.pop(0), port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    url = f"https://hooks.example:{port}/"
    webhooks.check_url(url, rules=office.rules)
    office.test(office.add(url).webhook.id)
    office.deliver()
    assert answers == []
    error = office.all()[0].error
    assert error is not None
    assert "hooks.example resolves to a non-public address" in error
    assert receiver.received == []


def test_workers_never_send_to_one_endpoint_at_the_same_time_and_send_everything_once(
    office: Office, receiver: Receiver
) -> None:
    webhook_id = office.add(f"{receiver.url}/a").webhook.id
    sent = [office.test(webhook_id) for _ in range(20)]
    workers = [office.deliverer() for _ in range(4)]
    with ThreadPoolExecutor(len(workers)) as pool:
        for _ in range(3):
            list(pool.map(Deliverer.step, workers))
    for worker in workers:
        worker.wait(20)
    office.deliver()
    assert [each.id for each in receiver.received] == [f"msg_{each.hex}" for each in sent]
    assert receiver.most_in_flight == 1
    assert {each.attempts for each in office.all()} == {1}


def test_dead_endpoint_holds_up_no_other(office: Office, receiver: Receiver) -> None:
    release = threading.Event()
    receiver.responses["/dead"] = [lambda _: release.wait(10)]
    office.rules = replace(RULES, timeout=30, idle=30)
    dead = office.add(f"{receiver.url}/dead").webhook.id
    living = office.add(f"{receiver.url}/living").webhook.id
    for _ in range(5):
        office.test(dead)
        office.test(living)
    worker = office.deliverer()
    worker.step()
    eventually(lambda: len(receiver.to("/living")) == 5)
    assert len(receiver.to("/dead")) == 1
    # It is stopped in the middle, and leaves everything to another: after the lease.
    worker.stop()
    other = office.deliverer()
    other.step()
    assert len(receiver.to("/dead")) == 1
    office.now += timedelta(seconds=40)
    other.step()
    eventually(lambda: len(receiver.to("/dead")) == 6)
    release.set()
    worker.wait(20)
    other.wait(20)
    first, second = receiver.to("/dead")[:2]
    assert first.id == second.id
    # What the first one learnt too late is not recorded.
    found = [(each.status, each.attempts) for each in office.all() if each.webhook_id == dead]
    assert found == [(DeliveryStatus.DELIVERED, 2)] + [(DeliveryStatus.DELIVERED, 1)] * 4


def test_deliveries_are_kept_for_a_time_and_in_a_number(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MAX_ROWS", 3)
    first, second = (office.add("http://localhost/").webhook.id for _ in range(2))
    kept = [office.test(first) for _ in range(5)][2:]
    kept += [office.test(second) for _ in range(2)]
    deleted = office.add("http://localhost/").webhook.id
    office.test(deleted)
    with office.database.writing() as session:
        # As one that is written while its webhook is being deleted.
        session.delete(webhooks.get(session, webhook_id=deleted))
        old = update(WebhookDelivery).where(WebhookDelivery.id == kept[-2])
        session.execute(old.values(created_at=office.now - deliveries.KEEP - SECOND))
    with office.database.writing() as session:
        assert deliveries.prune(session, now=office.now) == 4
    assert {each.id for each in office.all()} == set(kept) - {kept[-2]}


def test_message_whose_senders_die_is_given_up(office: Office, receiver: Receiver) -> None:
    webhook_id = office.add(receiver.url).webhook.id
    office.test(webhook_id)
    lease = 10 * SECOND
    for _ in range(MAX_ATTEMPTS):
        with office.database.writing() as session:
            message = deliveries.claim(
                session, webhook_id=webhook_id, owner=uuid.uuid4(), now=office.now, lease=lease
            )
        assert message is not None
        office.now += lease + SECOND
    office.deliver()
    (delivery,) = office.all()
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.FAILED, MAX_ATTEMPTS)
    assert delivery.error == "The service died in the last attempt."
    assert receiver.received == []


def test_there_is_a_limit_of_webhooks(office: Office) -> None:
    for _ in range(MAX_WEBHOOKS):
        office.add("http://localhost/")
    with pytest.raises(ConflictError, match="There are 20 webhooks already; delete one first"):
        office.add("http://localhost/")


def test_lost_database_ends_nothing_but_the_attempt(office: Office, receiver: Receiver) -> None:
    webhook_id = office.add(receiver.url).webhook.id
    office.test(webhook_id)
    worker = office.deliverer()
    with office.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE webhook_deliveries RENAME TO away"))
    with pytest.raises(SQLAlchemyError):
        worker.step()
    worker._run(webhook_id)
    with office.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO webhook_deliveries"))
    office.deliver()
    assert len(receiver.received) == 1
