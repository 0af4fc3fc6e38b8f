"""Lists on both databases: sort orders, filters, and cursors that survive changes."""

import base64
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy
from tests.support import rows

from app.db import Database
from app.errors import InvalidCursorError
from app.models import AnalysisStatus
from app.services import analyses, events, leases, videos
from app.services.paging import Page
from app.services.videos import Filters, Sort
from app.video import Parameters

NAMES = ("b.mp4", "a.mp4", "C_1%.mp4", "a.mp4", "d.mp4")
SIZES = (30, 10, 50, 20, 10)
DURATIONS = (5, None, 1, 5, 2)


@pytest.fixture
def ids(database: Database) -> list[uuid.UUID]:
    return [
        rows.video(database, filename=name, size=size, duration=duration)
        for name, size, duration in zip(NAMES, SIZES, DURATIONS, strict=True)
    ]


def walk(
    database: Database, *, sort: Sort = Sort.NEWEST, filters: Filters | None = None, limit: int = 2
) -> Iterator[uuid.UUID]:
    cursor = None
    while True:
        with database.reading() as session:
            page = videos.page(
                session, filters=filters or Filters(), sort=sort, limit=limit, after=cursor
            )
        yield from (item.video.id for item in page.items)
        cursor = page.next_cursor
        if cursor is None:
            return


@pytest.mark.parametrize("limit", [2, 5])
@pytest.mark.parametrize("sort", list(Sort))
def test_every_sort_order_lists_every_video_once(
    sort: Sort, limit: int, database: Database, ids: list[uuid.UUID]
) -> None:
    named: dict[str, list[Any]] = {
        "created_at": list(range(5)),
        "filename": list(NAMES),
        "size": list(SIZES),
        "duration": [-1 if value is None else value for value in DURATIONS],
    }
    keys = named[sort.value.removeprefix("-")]
    expected = sorted(zip(keys, ids, strict=True), reverse=sort.value.startswith("-"))
    found = list(walk(database, sort=sort, limit=limit))
    if sort.value.endswith("filename"):  # depends on the collation
        assert sorted(found) == sorted(ids)
    else:
        assert found == [video_id for _, video_id in expected]


def test_cursor_stays_valid_while_rows_are_added_and_deleted(
    database: Database, ids: list[uuid.UUID]
) -> None:
    with database.reading() as session:
        first = videos.page(session, filters=Filters(), sort=Sort.NEWEST, limit=2, after=None)
    with database.writing() as session:
        videos.delete(session, video_id=ids[3])  # the row of the cursor
    rows.video(database)
    with database.reading() as session:
        second = videos.page(
            session, filters=Filters(), sort=Sort.NEWEST, limit=9, after=first.next_cursor
        )
    assert [item.video.id for item in first.items] == [ids[4], ids[3]]
    assert [item.video.id for item in second.items] == [ids[2], ids[1], ids[0]]


def test_filters_narrow_the_list(database: Database, ids: list[uuid.UUID]) -> None:
    def found(**conditions: object) -> list[uuid.UUID]:
        return sorted(walk(database, filters=Filters(**conditions)))  # type: ignore[arg-type]

    assert found(name="A.MP4") == sorted([ids[1], ids[3]])
    assert found(name="1%") == [ids[2]]
    assert found(name="%") == [ids[2]]
    assert found(name="_") == [ids[2]]
    now = datetime.now(UTC)
    assert found(created_before=now - timedelta(hours=1)) == []
    assert found(created_from=now - timedelta(hours=1)) == sorted(ids)
    with database.writing() as session:
        first, _ = analyses.request(session, video_id=ids[0], parameters=Parameters())
    with database.writing() as session:
        analyses.cancel(session, analysis_id=first.id, now=now)
        analyses.request(session, video_id=ids[1], parameters=Parameters())
    assert found(status=[AnalysisStatus.CANCELLED]) == [ids[0]]
    assert found(status=[AnalysisStatus.CANCELLED, AnalysisStatus.QUEUED]) == sorted(ids[:2])
    with database.writing() as session:  # only the latest analysis counts
        other = Parameters(sensitivity=0.9)
        analyses.request(session, video_id=ids[0], parameters=other)
    assert found(status=[AnalysisStatus.CANCELLED]) == []


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "ÿ",
        "bnVsbA",  # null
        "WyItY3JlYXRlZF9hdCIsbnVsbCwieCJd",  # without a valid id
        "WyJzaXplIiwxLCIwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMSJd",  # of another list
        "WyJzaXplIiwiYSIsIjAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAxIl0",  # text instead of a size
    ],
)
def test_invalid_cursor_is_rejected(cursor: str, database: Database) -> None:
    with database.reading() as session, pytest.raises(InvalidCursorError):
        videos.page(session, filters=Filters(), sort=Sort.NEWEST, limit=2, after=cursor)


# As JSON, because that is what a client can put in a cursor.
VALUES: dict[type, list[str]] = {
    type(None): ["null"], bool: ["true", "false"], int: ["0", "-7"], float: ["1.0", "-1.5e-3"],
    str: ['""', '"a"', '"1"'], list: ["[]", "[1]"], dict: ["{}", '{"a": 1}'],
}  # fmt: skip
# Of the right type, but no database accepts or compares them.
UNUSABLE = [
    "NaN", "Infinity", "-Infinity", "1e999", str(2**63), str(-(2**63)), "9" * 1000,
    '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfff"',
]  # fmt: skip
IDS = ["null", "true", "1", "1.5", "[]", "{}", '""', '"x"', f'"{"g" * 32}"']


Read = Callable[..., Page[Any]]


def lists(database: Database, analysis_id: uuid.UUID) -> Iterator[tuple[str, type, Read]]:
    """Yield name, type of the key, and a function that reads one page, of every list there is."""
    kinds: dict[str, type] = {
        "created_at": type(None),
        "filename": str,
        "size": int,
        "duration": float,
    }
    every: dict[str, tuple[type, Read]] = {
        sort.value: (
            kinds[sort.value.removeprefix("-")],
            partial(videos.page, filters=Filters(), sort=sort),
        )
        for sort in Sort
    }
    every["newest"] = type(None), partial(analyses.page, video_id=None, status=())
    every["position"] = int, partial(events.page, analysis_id=analysis_id, minimum_score=0.0)
    for name, (kind, page) in every.items():
        with database.reading() as session:
            yield name, kind, partial(page, session, limit=2)


def encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_every_wrongly_typed_value_in_every_cursor_is_rejected(
    database: Database, ids: list[uuid.UUID]
) -> None:
    with database.writing() as session:
        analysis, _ = analyses.request(session, video_id=ids[0], parameters=Parameters())
    good_id = f'"{ids[0].hex}"'
    for name, kind, read in lists(database, analysis.id):
        right, *_ = VALUES[kind]
        wrong = [f'["{name}", {value}, {good_id}]' for value in UNUSABLE]
        for each, values in VALUES.items():
            for value in values:
                wrong += [value, f"[{value}, {right}, {good_id}]"]
                if each is kind:
                    read(after=encode(f'["{name}", {value}, {good_id}]'))
                else:
                    wrong.append(f'["{name}", {value}, {good_id}]')
        wrong += [f'["{name}", {right}, {value}]' for value in IDS]
        wrong += [f'["{name}", {right}]', f'["{name}", {right}, {good_id}, 1]', "[" * 1500]
        for text in wrong:
            with pytest.raises(InvalidCursorError):
                read(after=encode(text))


def test_list_takes_one_query_for_any_number_of_videos(
    database: Database, ids: list[uuid.UUID]
) -> None:
    for video_id in ids:
        with database.writing() as session:
            analyses.request(session, video_id=video_id, parameters=Parameters())
    statements = []
    from sqlalchemy import event

    def count(*arguments: object) -> None:
        statements.append(arguments[2])

    event.listen(database.engine, "before_cursor_execute", count)
    with database.reading() as session:
        videos.page(session, filters=Filters(), sort=Sort.NEWEST, limit=100, after=None)
    assert len([text for text in statements if str(text).startswith("SELECT")]) == 1


def test_identical_unfinished_analysis_is_not_queued_twice(
    database: Database, ids: list[uuid.UUID]
) -> None:
    now = datetime.now(UTC)
    with database.writing() as session:
        first, new = analyses.request(session, video_id=ids[0], parameters=Parameters())
        again, newer = analyses.request(session, video_id=ids[0], parameters=Parameters())
        other, newest = analyses.request(
            session, video_id=ids[0], parameters=Parameters(sensitivity=0.1)
        )
    assert (new, newer, newest) == (True, False, True)
    assert first.id == again.id != other.id
    with database.writing() as session:
        claim = leases.claim(
            session, analysis_id=other.id, now=now, lease=timedelta(seconds=9), max_attempts=3
        )
    assert claim is not None
    assert claim.parameters == Parameters(sensitivity=0.1)


@pytest.mark.parametrize("sort", list(Sort))
def test_every_sort_order_uses_an_index(
    sort: Sort, database: Database, ids: list[uuid.UUID]
) -> None:
    executed: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        executed.append((statement, values))

    sqlite = database.engine.dialect.name == "sqlite"
    sqlalchemy.event.listen(database.engine, "before_cursor_execute", record)
    assert len(list(walk(database, sort=sort, limit=len(ids)))) == len(ids)
    sqlalchemy.event.remove(database.engine, "before_cursor_execute", record)
    (statement, values) = executed[-1]
    with database.engine.connect() as connection:
        if not sqlite:  # it would sort so few rows rather than use an index
            connection.exec_driver_sql("SET enable_seqscan = off")
            connection.exec_driver_sql("SET enable_sort = off")
        explain = "EXPLAIN QUERY PLAN" if sqlite else "EXPLAIN"
        plan = str(connection.exec_driver_sql(f"{explain} {statement}", values).all())
    assert "TEMP B-TREE" not in plan
    assert "Sort Key" not in plan
    named = sort.value.removeprefix("-")
    expected = "videos" if named == "created_at" else f"ix_videos_{named}_id"
    assert expected in plan
