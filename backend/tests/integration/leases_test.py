"""The life cycle of an analysis row: claiming, losing the lease, giving up."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from tests.support import rows

from app.db import Database
from app.errors import AnalysisNotFoundError
from app.models import Analysis, AnalysisStatus
from app.services import analyses, events, leases
from app.services.leases import Claim
from app.video import Parameters

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
LATER = NOW + LEASE + timedelta(seconds=1)


@pytest.fixture
def analysis_id(database: Database) -> uuid.UUID:
    video_id = rows.video(database)
    with database.writing() as session:
        analysis, _ = analyses.request(session, video_id=video_id, parameters=Parameters())
        return analysis.id


def claim(database: Database, analysis_id: uuid.UUID, *, now: datetime = NOW) -> Claim | None:
    with database.writing() as session:
        return leases.claim(session, analysis_id=analysis_id, now=now, lease=LEASE, max_attempts=3)


def read(database: Database, analysis_id: uuid.UUID) -> Analysis:
    with database.reading() as session:
        return analyses.get(session, analysis_id=analysis_id)


def test_queued_analysis_can_be_claimed_once(database: Database, analysis_id: uuid.UUID) -> None:
    assert claim(database, analysis_id) is not None
    assert claim(database, analysis_id) is None
    assert read(database, analysis_id).status is AnalysisStatus.RUNNING


def test_unknown_analysis_cannot_be_claimed_or_read(database: Database) -> None:
    assert claim(database, uuid.uuid4()) is None
    with pytest.raises(AnalysisNotFoundError, match="does not exist"):
        read(database, uuid.uuid4())


def test_silent_worker_loses_its_claim_and_its_result_is_discarded(
    database: Database, analysis_id: uuid.UUID
) -> None:
    first = claim(database, analysis_id)
    second = claim(database, analysis_id, now=LATER)
    assert first is not None
    assert second is not None
    assert second.attempt == 2
    with database.writing() as session:
        assert not leases.renew(session, claim=first, now=LATER, lease=LEASE, progress=0.5)
        assert not leases.complete(
            session, claim=first, now=LATER, findings=rows.findings(codec="first")
        )
        assert leases.complete(
            session, claim=second, now=LATER, findings=rows.findings(codec="second", events=2)
        )
    row = read(database, analysis_id)
    assert (row.result, row.event_count, row.progress) == ({"codec": "second"}, 2, 1.0)
    with database.reading() as session:
        page = events.page(session, analysis_id=analysis_id, minimum_score=0, limit=10, after=None)
    assert [event.position for event in page.items] == [0, 1]


def test_renewed_lease_prevents_other_claims(database: Database, analysis_id: uuid.UUID) -> None:
    mine = claim(database, analysis_id)
    assert mine is not None
    with database.writing() as session:
        assert leases.renew(session, claim=mine, now=LATER, lease=LEASE, progress=0.5)
    assert claim(database, analysis_id, now=LATER) is None


def test_finished_analysis_is_never_claimed_again(
    database: Database, analysis_id: uuid.UUID
) -> None:
    mine = claim(database, analysis_id)
    assert mine is not None
    with database.writing() as session:
        assert leases.fail(session, claim=mine, now=NOW, reason="broken")
        assert not leases.complete(session, claim=mine, now=NOW, findings=rows.findings())
    assert claim(database, analysis_id, now=LATER) is None
    row = read(database, analysis_id)
    assert (row.status, row.reason, row.finished_at) == (AnalysisStatus.FAILED, "broken", NOW)


def test_analysis_fails_after_its_worker_has_died_too_often(
    database: Database, analysis_id: uuid.UUID
) -> None:
    now = NOW
    for _ in range(3):
        assert claim(database, analysis_id, now=now) is not None
        now += LEASE * 2
    assert claim(database, analysis_id, now=now) is None
    row = read(database, analysis_id)
    assert row.status is AnalysisStatus.FAILED
    assert row.reason == "gave up: the worker died in each of 3 attempts"


def test_handing_back_does_not_count_as_an_attempt(
    database: Database, analysis_id: uuid.UUID
) -> None:
    mine = claim(database, analysis_id)
    assert mine is not None
    with database.writing() as session:
        assert leases.release(session, claim=mine)
    row = read(database, analysis_id)
    assert (row.status, row.attempts) == (AnalysisStatus.QUEUED, 0)


def test_expiring_leases_makes_abandoned_analyses_claimable(
    database: Database, analysis_id: uuid.UUID
) -> None:
    claim(database, analysis_id)
    with database.writing() as session:
        assert leases.next_claimable(session, now=NOW) is None
        assert leases.expire_leases(session, now=NOW) == 1
        assert leases.next_claimable(session, now=NOW) == analysis_id


def test_analysis_is_dispatched_once_and_again_only_after_a_long_time(
    database: Database, analysis_id: uuid.UUID
) -> None:
    def undispatched(now: datetime) -> list[uuid.UUID]:
        with database.reading() as session:
            found = leases.undispatched(
                session, now=now, again_after=timedelta(minutes=15), limit=10
            )
            return list(found)

    assert undispatched(NOW) == [analysis_id]
    with database.writing() as session:
        leases.mark_dispatched(session, analysis_ids=[analysis_id], now=NOW)
    assert undispatched(NOW + timedelta(minutes=14)) == []
    assert undispatched(NOW + timedelta(minutes=16)) == [analysis_id]


def test_analysis_is_dispatched_again_when_its_worker_died(
    database: Database, analysis_id: uuid.UUID
) -> None:
    with database.writing() as session:
        leases.mark_dispatched(session, analysis_ids=[analysis_id], now=NOW)
    claim(database, analysis_id)
    with database.writing() as session:
        arguments = {"again_after": timedelta(hours=1), "limit": 10}
        assert not leases.undispatched(session, now=NOW, **arguments)  # type: ignore[arg-type]
        found = leases.undispatched(session, now=LATER, **arguments)  # type: ignore[arg-type]
        assert list(found) == [analysis_id]
    with database.writing() as session:
        leases.mark_dispatched(session, analysis_ids=[analysis_id], now=LATER)
        assert not leases.undispatched(session, now=LATER, **arguments)  # type: ignore[arg-type]
        # And again if that message is lost too.
        much_later = LATER + timedelta(hours=2)
        found = leases.undispatched(session, now=much_later, **arguments)  # type: ignore[arg-type]
        assert list(found) == [analysis_id]


def test_clients_take_turns(database: Database) -> None:
    ids: dict[str, uuid.UUID] = {}
    video_id = rows.video(database)
    for number, name in enumerate(("a1", "a2", "a3", "b1", "a4", "-1", "b2")):
        chosen = Parameters(sensitivity=number / 10)
        client = None if name[0] == "-" else name[0]
        with database.writing() as session:
            made, _ = analyses.request(session, video_id=video_id, parameters=chosen, client=client)
            ids[name] = made.id
    names = {value: name for name, value in ids.items()}
    order = []
    for minute in range(len(ids)):
        now = NOW + timedelta(minutes=minute)
        with database.writing() as session:
            found = leases.next_claimable(session, now=now)
            assert found is not None
            order.append(names[found])
            claimed = leases.claim(session, analysis_id=found, now=now, lease=LEASE, max_attempts=3)
            assert claimed is not None
            assert leases.fail(session, claim=claimed, now=now, reason="x")
    assert order == ["a1", "b1", "-1", "a2", "b2", "a3", "a4"]
    with database.reading() as session:
        assert leases.next_claimable(session, now=LATER) is None
