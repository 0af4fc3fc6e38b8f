"""Captions of events: each is asked for at most once, within the day's limit, and found again."""

import csv
import io
import itertools
import json
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from tests.support import clips, rows, servers, web
from tests.support import gemini as api
from tests.support.gemini import KEY, Gemini, Reply
from tests.support.servers import eventually

from app.db import Database
from app.models import CaptionStatus, MotionEvent
from app.models.base import utc_now
from app.services import analyses, captions, events, leases, videos
from app.services.captions import MAX_DEMANDED_S, MAX_ERRORS, MAX_PAUSE_S, Claim
from app.services.gemini import LOST, Answer, GeminiRules, Postponed
from app.services.media import Media
from app.services.pictures import event_picture
from app.services.storage import Storage
from app.services.videos import Filters, Sort
from app.video import Parameters, Tools
from app.worker.captions import WIDTH, Captioner

NOW = datetime(2026, 11, 27, 23, tzinfo=UTC)
TIMEOUT = timedelta(seconds=60)
BUSY = Postponed("HTTP 503")


def analysed(database: Database, *, events: int, filename: str = "a.mp4") -> list[uuid.UUID]:
    """Add an analysed video; return the ids of its events."""
    video_id = rows.video(database, filename=filename)
    with database.writing() as session:
        analysis, _ = analyses.request(session, video_id=video_id, parameters=Parameters())
        claim = leases.claim(
            session, analysis_id=analysis.id, now=NOW, lease=timedelta(days=1), max_attempts=3
        )
        assert claim is not None
        leases.complete(session, claim=claim, now=NOW, findings=rows.findings(events=events))
        query = MotionEvent.__table__.select().where(MotionEvent.analysis_id == analysis.id)
        return sorted(row.id for row in session.execute(query))


def read(database: Database, event_id: uuid.UUID) -> MotionEvent:
    with database.reading() as session:
        return events.get(session, event_id=event_id).event


def status(database: Database, event_id: uuid.UUID) -> CaptionStatus | None:
    return read(database, event_id).caption_status


def claim_next(database: Database, *, now: datetime = NOW, limit: int = 100) -> Claim | None:
    with database.reading() as session:
        event_id = captions.next_claimable(session, now=now, limit=limit)
    if event_id is None:
        return None
    with database.writing() as session:
        return captions.claim(session, event_id=event_id, now=now)


def begin(database: Database, claim: Claim, *, now: datetime = NOW, limit: int = 100) -> bool:
    with database.writing() as session:
        return captions.begin(session, claim=claim, now=now, timeout=TIMEOUT, limit=limit)


def postpone(
    database: Database, claim: Claim, result: Postponed = BUSY, *, now: datetime = NOW
) -> float:
    with database.writing() as session:
        return captions.postpone(session, claim=claim, now=now, result=result)


def finish(database: Database, claim: Claim, answer: Answer) -> bool:
    with database.writing() as session:
        return captions.finish(session, claim=claim, answer=answer)


def sent(database: Database, *, now: datetime = NOW, limit: int = 100) -> Claim:
    """Claim the next event and record that its request is sent."""
    claim = claim_next(database, now=now, limit=limit)
    assert claim is not None
    assert begin(database, claim, now=now, limit=limit)
    return claim


def test_new_events_come_first_and_each_is_claimed_once(database: Database) -> None:
    first, second = analysed(database, events=2)
    claims = [claim_next(database), claim_next(database)]
    assert [claim and claim.event_id for claim in claims] == [second, first]
    assert claim_next(database) is None
    with database.writing() as session:
        assert captions.claim(session, event_id=first, now=NOW) is None
        assert captions.claim(session, event_id=uuid.uuid4(), now=NOW) is None


def test_claim_of_a_process_that_dies_before_it_sends_is_taken_over(database: Database) -> None:
    (event_id,) = analysed(database, events=1)
    dead = claim_next(database)
    later = NOW + captions.PREPARATION + timedelta(seconds=1)
    assert dead is not None
    assert claim_next(database) is None
    taken = sent(database, now=later)
    assert taken.event_id == event_id
    # It was not dead, only slow: it must not send, too.
    assert not begin(database, dead, now=later)
    assert postpone(database, dead, now=later) > 0
    assert status(database, event_id) is CaptionStatus.SENDING


def test_request_of_a_process_that_dies_after_it_was_sent_is_never_sent_again(
    database: Database,
) -> None:
    (event_id,) = analysed(database, events=1)
    claim = sent(database)
    later = NOW + TIMEOUT + captions.MARGIN + timedelta(seconds=1)
    for now, lost in ((NOW, False), (later, True)):
        with database.writing() as session:
            assert captions.any_lost(session, now=now) is lost
            assert captions.give_up_lost(session, now=now) == int(lost)
    row = read(database, event_id)
    assert (row.caption_status, row.caption, row.caption_reason) == ("failed", None, LOST)
    assert claim_next(database, now=later + timedelta(days=365)) is None
    # The answer comes after all; it is paid for.
    assert finish(database, claim, Answer(CaptionStatus.DONE, text="A cat."))
    row = read(database, event_id)
    assert (row.caption_status, row.caption, row.caption_reason) == ("done", "A cat.", None)


def test_daily_limit_holds_whatever_is_deleted_and_ends_at_midnight(database: Database) -> None:
    analysed(database, events=5)
    waiting = claim_next(database, limit=2)
    for _ in range(2):
        finish(database, sent(database, limit=2), Answer(CaptionStatus.EMPTY))
    assert claim_next(database, limit=2) is None
    assert waiting is not None
    assert not begin(database, waiting, limit=2)
    with database.writing() as session:
        captions.release(session, claim=waiting, now=NOW)
        videos.delete(session, video_id=videos.page(
            session, filters=Filters(), sort=Sort.NEWEST, limit=1, after=None
        ).items[0].video.id)  # fmt: skip
    analysed(database, events=3)
    assert claim_next(database, limit=2) is None
    tomorrow = NOW + timedelta(hours=1)
    for _ in range(2):
        sent(database, now=tomorrow, limit=2)
    assert claim_next(database, now=tomorrow, limit=2) is None
    # The clock of another machine is behind.
    assert claim_next(database, now=NOW, limit=2) is None


def test_limit_of_zero_sends_nothing(database: Database) -> None:
    analysed(database, events=1)
    assert claim_next(database, limit=0) is None


def test_failures_in_a_row_double_the_pause_of_all_processes(database: Database) -> None:
    first, _ = analysed(database, events=2)
    now, pauses = NOW, list[float]()
    other = Claim(first, uuid.uuid4())
    for _ in range(12):
        pauses.append(postpone(database, sent(database, now=now), now=now))
        almost = now + timedelta(seconds=pauses[-1] - 0.1)
        assert claim_next(database, now=almost) is None
        assert not begin(database, other, now=almost)
        now += timedelta(seconds=pauses[-1] + 0.1)
    assert pauses[0] < 3
    doubling = itertools.pairwise(pauses[:8])
    assert all(2.6 > later / earlier > 1.5 for earlier, later in doubling)
    assert MAX_PAUSE_S <= max(pauses) <= MAX_PAUSE_S * 1.25
    finish(database, sent(database, now=now), Answer(CaptionStatus.EMPTY))
    assert postpone(database, sent(database, now=now), now=now) < 3


@pytest.mark.parametrize(("demanded", "least"), [(90, 90), (1e12, MAX_DEMANDED_S), (-5, 2)])
def test_demanded_pause_is_obeyed(database: Database, demanded: float, least: float) -> None:
    analysed(database, events=2)
    claims = [sent(database), sent(database)]
    pause = postpone(database, claims[0], Postponed("HTTP 429", delay=demanded))
    assert least <= pause <= least * 1.25
    # One that another process had sent already, and that fails otherwise, does not shorten it.
    postpone(database, claims[1])
    if demanded > 10:
        assert claim_next(database, now=NOW + timedelta(seconds=least - 1)) is None


def test_picture_that_the_api_fails_on_is_given_up_and_others_are_not(database: Database) -> None:
    first, second = analysed(database, events=2)
    now = NOW
    for number in range(MAX_ERRORS):
        claim = sent(database, now=now)
        assert claim.event_id == second
        result = Postponed("HTTP 500 INTERNAL", blames_picture=True)
        now += timedelta(seconds=postpone(database, claim, result, now=now) + 1)
        assert (status(database, second) is CaptionStatus.FAILED) == (number == MAX_ERRORS - 1)
    assert read(database, second).caption_reason == f"Given up after {MAX_ERRORS} errors."
    for _ in range(MAX_ERRORS + 1):
        claim = sent(database, now=now)
        assert claim.event_id == first
        now += timedelta(seconds=postpone(database, claim, now=now) + 1)
    assert status(database, first) is CaptionStatus.WAITING


def test_deleted_event_stops_quietly(database: Database) -> None:
    (event_id,) = analysed(database, events=1)
    claim = claim_next(database)
    assert claim is not None
    with database.writing() as session:
        videos.delete(session, video_id=events.get(session, event_id=event_id).video.id)
    assert not begin(database, claim)
    assert not finish(database, claim, Answer(CaptionStatus.DONE, text="Nobody."))
    postpone(database, claim)


def test_captions_are_searched_without_case_and_wildcards(database: Database) -> None:
    texts = {"red.mp4": "A RED car, 100% fast", "blue.mp4": "A blue_car", "x.mp4": "Nothing"}
    for filename, text in texts.items():
        analysed(database, events=2, filename=filename)
        finish(database, sent(database), Answer(CaptionStatus.DONE, text=text))

    def found(text: str) -> set[str]:
        with database.reading() as session:
            page = videos.page(
                session, filters=Filters(caption=text), sort=Sort.NAME, limit=10, after=None
            )
            for item in page.items:
                assert item.analysis is not None
                shown = events.page(
                    session, analysis_id=item.analysis.id, minimum_score=0, limit=10, after=None,
                    caption=text,
                ).items  # fmt: skip
                assert len(shown) == 1
                assert text.lower() in str(shown[0].caption).lower()
        return {item.video.filename for item in page.items}

    assert found("car") == {"red.mp4", "blue.mp4"}
    assert found("a red CAR") == {"red.mp4"}
    assert found("100%") == {"red.mp4"}
    assert found("%") == {"red.mp4"}
    assert found("_") == {"blue.mp4"}
    assert found("bicycle") == set()


@pytest.fixture
def server() -> Iterator[Gemini]:
    with api.gemini() as made:
        yield made


def make_captioner(
    database: Database, directory: Path, url: str, event_id: uuid.UUID, *, key: str = KEY
) -> Captioner:
    """Return the job, for an event whose picture the analysis has stored."""
    storage = Storage(directory)
    storage.prepare()
    with database.reading() as session:
        state = events.get(session, event_id=event_id)
    name = event_picture(state.event.analysis_id, state.event.position, WIDTH.value)
    picture = storage.kept(state.video.id, name)
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"a JPEG")
    return Captioner(
        database=database,
        media=Media(database=database, storage=storage, tools=Tools(), cache_bytes=0),
        rules=GeminiRules(url=url, model=api.MODEL, key=key, timeout=10),
        daily_requests=1,
    )


def test_answer_is_stored_although_the_database_fails_meanwhile(
    database: Database, server: Gemini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (event_id,) = analysed(database, events=1)
    captioner = make_captioner(database, tmp_path, server.url, event_id)
    failures = iter([True, True])

    def fail_twice(*arguments: Any, **named: Any) -> bool:
        if next(failures, False):
            raise OperationalError("UPDATE", {}, Exception("the database is away"))
        return finish_caption(*arguments, **named)

    finish_caption = captions.finish
    monkeypatch.setattr(captions, "finish", fail_twice)
    monkeypatch.setattr("app.worker.captions.RETRY_S", 0.01)
    captioner.step()
    assert read(database, event_id).caption == "A car drives by."
    assert server.pictures() == [b"a JPEG"]


def test_wrong_key_is_told_once_a_pause_and_is_not_logged(
    database: Database, server: Gemini, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (event_id,) = analysed(database, events=1)
    wrong = "wrong-and-still-secret"
    captioner = make_captioner(database, tmp_path, server.url, event_id, key=wrong)
    for _ in range(3):
        captioner.step()
    assert status(database, event_id) is CaptionStatus.WAITING
    assert (len(server.refused), server.requests) == (1, [])
    ((name, fields),) = [(line.getMessage(), vars(line)["fields"]) for line in caplog.records]
    assert name == "captions.postponed"
    assert fields["cause"] == "HTTP 400 INVALID_ARGUMENT: API key not valid."
    assert wrong not in str(fields)


# The whole service.


@contextmanager
def service(
    tmp_path: Path, server: Gemini, **variables: str
) -> Iterator[tuple[str, servers.Process]]:
    """Run the service with captions."""
    data, log = tmp_path / "data", tmp_path / "api.log"
    with servers.api(data, log=log, variables=server.variables() | variables) as (url, process):
        yield url, process


def upload(url: str, path: Path) -> str:
    """Upload a video; return the id of its analysis."""
    with path.open("rb") as file:
        video = web.post(f"{url}/api/v1/videos", files={"file": file}, timeout=60).json()
    return str(video["analysis"]["id"])


def found_events(url: str, analysis_id: str, **query: str) -> list[dict[str, Any]]:
    reply = web.get(f"{url}/api/v1/analyses/{analysis_id}/events", params=query)
    return list(reply.raise_for_status().json()["events"])


def until_captioned(url: str, analysis_id: str, *, count: int) -> list[dict[str, Any]]:
    """Wait until no caption of the analysis is pending; return its events."""

    def poll() -> list[dict[str, Any]] | None:
        found = found_events(url, analysis_id)
        pending = [each for each in found if each["caption"]["status"] == "pending"]
        return found if len(found) == count and not pending else None

    return eventually(poll)


@pytest.fixture(scope="module")
def yard(clip_dir: Path) -> Path:
    """Return a clip with two events."""
    return clips.yard(clip_dir / "lane.mp4", name="lane")


HOSTILE = '=HYPERLINK("http://x.example") <img src=x onerror=alert(1)>\u202e\n\0 & more'
SHOWN = '=HYPERLINK("http://x.example") <img src=x onerror=alert(1)> & more'


def test_events_get_captions_in_api_export_and_search(
    tmp_path: Path, server: Gemini, yard: Path
) -> None:
    replies = iter([
        api.error(429, "RESOURCE_EXHAUSTED", api.retry_info("1s")), api.error(500, "INTERNAL"),
        api.caption(HOSTILE), api.blocked("SAFETY"),
    ])  # fmt: skip
    times, seen = list[datetime](), threading.Event()

    def answer() -> Reply:
        seen.wait(30)
        times.append(utc_now())
        return next(replies)

    server.answer = answer
    with service(tmp_path, server) as (url, process):
        analysis_id = upload(url, yard)
        # Results do not wait for captions.
        eventually(lambda: len(found_events(url, analysis_id)) == 2)
        seen.set()
        first, second = until_captioned(url, analysis_id, count=2)
        assert second["caption"] == {"status": "done", "text": SHOWN, "reason": None}
        assert first["caption"] == {"status": "refused", "text": None, "reason": "SAFETY"}
        assert web.get(f"{url}/api/v1/events/{first['id']}").json() == first
        # The pictures that the service shows, and nothing about where they are from.
        pictures = [
            web.get(f"{url}/api/v1/events/{each['id']}/thumbnail").content
            for each in (second, second, second, first)
        ]
        assert server.pictures() == pictures
        sent_text = json.dumps(server.requests)
        assert "lane.mp4" not in sent_text
        assert not any(each["id"] in sent_text for each in (first, second))
        assert times[1] - times[0] >= timedelta(seconds=1), "the pause that 429 demands"
        assert found_events(url, analysis_id, caption="hyperlink") == [second]
        assert found_events(url, analysis_id, caption="\0") == [first, second]
        for text, count in (("MORE", 1), ("safety", 0)):
            page = web.get(f"{url}/api/v1/videos", params={"caption": text}).json()
            assert len(page["videos"]) == count
        exported = f"{url}/api/v1/analyses/{analysis_id}/events"
        lines = list(csv.DictReader(io.StringIO(web.get(f"{exported}.csv").text)))
        assert [(line["caption_status"], line["caption"]) for line in lines] == [
            ("refused", ""), ("done", f"'{SHOWN}"),
        ]  # fmt: skip
        assert web.get(f"{exported}.json").json()["events"] == [first, second]
        metrics = web.get(f"{url}/metrics").text
        for line in ('captions{status="done"} 1.0', 'captions{status="refused"} 1.0',
                     'captions{status="pending"} 0.0', "captions_requests_today 4.0"):  # fmt: skip
            assert line in metrics
        assert "CaptionOut" in web.get(f"{url}/openapi.json").text
        assert "data-captions" in web.get(f"{url}/").text
    log = process.output()
    assert KEY not in log
    for name in ("caption.stored", "captions.postponed", "HTTP 500 INTERNAL: An error."):
        assert name in log
    assert len(server.requests) == 4


def test_nothing_is_sent_without_a_key_and_with_one_nothing_twice_after_a_crash(
    tmp_path: Path, server: Gemini, yard: Path
) -> None:
    with servers.api(
        tmp_path / "data", log=tmp_path / "log", variables={"GEMINI_URL": server.url}
    ) as (url, _):
        analysis_id = upload(url, yard)
        found = eventually(lambda: found_events(url, analysis_id) or None)
        assert [each.keys() & {"caption"} for each in found] == [set(), set()]
        # An unknown parameter, as any other.
        assert found_events(url, analysis_id, caption="nothing") == found
        exported = f"{url}/api/v1/analyses/{analysis_id}/events"
        assert "caption" not in web.get(f"{exported}.csv").text
        assert "caption" not in web.get(f"{exported}.json").text
        assert "aption" not in web.get(f"{url}/openapi.json").text
        assert "aption" not in web.get(f"{url}/metrics").text
        assert "data-captions" not in web.get(f"{url}/").text
    assert (server.requests, server.refused) == ([], [])
    # With a key, events that are older get captions, too. The first request hangs, and is killed.
    received, release = threading.Event(), threading.Event()

    def hang() -> Reply:
        received.set()
        release.wait(30)
        return api.caption("too late")

    server.answer = hang
    with service(tmp_path, server) as (url, process):
        assert received.wait(30)
        found = found_events(url, analysis_id)
        assert [each["caption"]["status"] for each in found] == ["pending"] * 2
        process.popen.send_signal(signal.SIGKILL)
        process.popen.wait()
    release.set()
    server.answer = lambda: api.caption("A second one.")
    database = Database(f"sqlite:///{tmp_path}/data/backend.db")
    with database.writing() as session:  # instead of waiting for MARGIN
        query = select(MotionEvent).where(MotionEvent.caption_status == CaptionStatus.SENDING)
        session.scalars(query).one().caption_due = utc_now()
    database.close()
    shutil.rmtree(tmp_path / "data" / "kept")  # the picture has to be made anew
    with service(tmp_path, server) as (url, process):
        first, second = until_captioned(url, analysis_id, count=2)
        assert "captions.lost" in process.output()
    assert first["caption"]["text"] == "A second one."
    assert second["caption"] == {"status": "failed", "text": None, "reason": LOST}
    assert len(set(server.pictures())) == len(server.requests) == 2


def test_celery_workers_leave_captions_to_the_service_up_to_the_daily_limit(
    tmp_path: Path, server: Gemini, yard: Path, redis_url: str, migrated_postgres: Callable[[], str]
) -> None:
    shared = {"BROKER_URL": redis_url, "DATABASE_URL": migrated_postgres()}
    worker = tmp_path / "worker"
    with (
        service(tmp_path, server, **shared, GEMINI_DAILY_REQUESTS="1") as (url, _),
        # Workers decode what users upload. They need no key, and no way to the internet.
        servers.celery_worker(tmp_path / "data", log=worker, variables=shared),
    ):
        analysis_id = upload(url, yard)

        def poll() -> list[str] | None:
            found = [each["caption"]["status"] for each in found_events(url, analysis_id)]
            return found if "done" in found else None

        assert sorted(eventually(poll)) == ["done", "pending"]
    assert len(server.requests) == 1
