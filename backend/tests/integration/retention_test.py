"""Retention on both databases: what it removes, in which order, and what it leaves alone."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import select, update
from tests.support import rows, servers, web
from tests.support.servers import BACKEND, eventually, service_environment

from app.api.application import create_app
from app.cli import retention as cli
from app.db import Database
from app.models import Analysis, Video
from app.models.base import utc_now
from app.services import analyses, retention, retention_state, videos
from app.services.readers import RECENTLY_S, Readers
from app.services.retention import Policy, Retention, RetentionBusyError
from app.services.storage import Storage
from app.settings import load_settings
from app.video import Parameters

DAY = timedelta(days=1)
VIDEOS, RETENTION = "/api/v1/videos", "/api/v1/retention"


class Library:
    """Videos with content, of any age."""

    def __init__(self, database: Database, data_dir: Path) -> None:
        self.database = database
        self.storage = Storage(data_dir)
        self.storage.prepare()
        self.readers = Readers(self.storage, enabled=True)

    def add(self, *, age: timedelta, size: int = 1000, **values: Any) -> uuid.UUID:
        """Add a video that was stored, and last read, `age` ago."""
        added = rows.video(self.database, size=size)
        path = self.storage.path(added)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        self.rest(added, hours=2)
        kept = self.storage.kept(added, "preview.mp4")
        kept.parent.mkdir(parents=True)
        kept.write_bytes(b"preview")
        with self.database.writing() as session:
            session.execute(
                update(Video)
                .where(Video.id == added)
                .values({"created_at": utc_now() - age} | values)
            )
        return added

    def rest(self, video_id: uuid.UUID, *, hours: float) -> None:
        """Let a video not have been read for some hours."""
        past = time.time() - hours * 3600
        os.utime(self.storage.path(video_id), (past, past))

    def ids(self) -> set[uuid.UUID]:
        """Return the ids of all rows."""
        with self.database.reading() as session:
            return set(session.scalars(select(Video.id)))

    def files(self) -> set[uuid.UUID]:
        """Return the ids of all videos with content, pictures or previews."""
        found = itertools.chain(
            (self.storage.root / "videos").glob("*/*"), (self.storage.root / "kept").glob("*/*")
        )
        return {uuid.UUID(path.name) for path in found}

    def retention(self, **limits: Any) -> Retention:
        return Retention(
            database=self.database,
            storage=self.storage,
            readers=self.readers,
            policy=Policy(**limits),
        )


@pytest.fixture
def library(database: Database, tmp_path: Path) -> Library:
    return Library(database, tmp_path / "data")


def unexpected(held_until: datetime) -> None:
    """Fail: the clock is right."""
    raise AssertionError(held_until)


def ids(found: Any) -> list[uuid.UUID]:
    return [due.video_id for due in found]


def removed(library: Library, **limits: Any) -> list[uuid.UUID]:
    return ids(library.retention(**limits).run(held=unexpected))


def test_videos_are_removed_by_age_oldest_first_with_all_their_files(library: Library) -> None:
    old, new = library.add(age=31 * DAY), library.add(age=29 * DAY)
    oldest = library.add(age=40 * DAY, size=1234)
    policy = {"age": 30 * DAY}
    assert ids(library.retention(**policy).due(now=utc_now())) == [oldest, old]
    assert library.ids() == {old, new, oldest}
    done = list(library.retention(**policy).run(held=unexpected))
    assert [(due.video_id, due.reason, due.size) for due in done] == [
        (oldest, "age", 1234),
        (old, "age", 1000),
    ]
    assert library.ids() == library.files() == {new}
    assert list((library.storage.root / "incoming").iterdir()) == []
    with library.database.reading() as session:
        state = retention_state.read(session)
        assert state is not None
        assert (state.removed_by_age, state.removed_by_size, state.removed_bytes) == (2, 0, 2234)
        assert state.lease_owner is None


def test_videos_are_removed_by_total_size_until_the_rest_fits(library: Library) -> None:
    first, second, third = (library.add(age=days * DAY, size=1000) for days in (3, 2, 1))
    assert removed(library, bytes=3000) == []
    assert removed(library, bytes=2999) == [first]
    assert removed(library, bytes=1, age=2 * DAY) == [second, third]


def test_what_is_in_use_is_left_alone_and_the_next_one_goes(library: Library) -> None:
    pinned = library.add(age=9 * DAY, pinned=True)
    analysed, read, watched = (library.add(age=days * DAY) for days in (8, 7, 6))
    idle, young = library.add(age=5 * DAY), library.add(age=timedelta(minutes=59))
    with library.database.writing() as session:
        job, _ = analyses.request(session, video_id=analysed, parameters=Parameters())
    with library.readers.reading(watched):
        pass  # a moment ago
    with library.readers.reading(read):
        library.rest(read, hours=2)  # since when one response goes on
        listed = library.retention(bytes=0).due(now=utc_now())
        assert [(due.video_id, due.in_use) for due in listed] == [
            (read, True),
            (watched, True),
            (idle, False),
        ]
        assert removed(library, bytes=0, age=DAY) == [idle]
    library.rest(read, hours=RECENTLY_S / 3600)
    library.rest(watched, hours=RECENTLY_S / 3600)
    with library.database.writing() as session:
        analyses.cancel(session, analysis_id=job.id, now=utc_now())
        retention.pin(session, video_id=pinned, pinned=False)
    assert removed(library, age=DAY) == [pinned, analysed, read, watched]
    assert library.ids() == library.files() == {young}


def test_analysis_requested_between_list_and_removal_saves_the_video(library: Library) -> None:
    first, second = library.add(age=3 * DAY), library.add(age=2 * DAY)
    run = library.retention(age=DAY).run(held=unexpected)
    assert next(run).video_id == first
    with library.database.writing() as session:
        analyses.request(session, video_id=second, parameters=Parameters())
    assert list(run) == []
    assert library.ids() == {second}
    with library.database.reading() as session:
        state = retention_state.read(session)
        assert state is not None
        assert state.removed_by_age == 1


def test_only_one_process_removes_and_a_dead_one_is_replaced(library: Library) -> None:
    library.add(age=3 * DAY), library.add(age=2 * DAY)
    dead = library.retention(age=DAY).run(held=unexpected)
    next(dead)
    with pytest.raises(RetentionBusyError, match="another process is removing videos"):
        next(library.retention(age=DAY).run(held=unexpected))
    later = utc_now() + retention_state.LEASE + timedelta(seconds=1)
    successor = library.retention(age=DAY).run(clock=lambda: later, held=unexpected)
    assert len(list(successor)) == 1
    assert list(dead) == []  # it lost its lease, and removes nothing more
    assert library.ids() == set()


def held_run(library: Library, now: datetime) -> tuple[list[uuid.UUID], list[datetime]]:
    held: list[datetime] = []
    run = library.retention(age=30 * DAY).run(clock=lambda: now, held=held.append)
    return ids(run), held


def test_wrong_clock_makes_no_video_old(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    video, now, hour = library.add(age=DAY), utc_now(), timedelta(hours=1)
    assert held_run(library, now) == ([], [])
    # On by years, for hours; then right again.
    for ahead in (0 * hour, hour, 23 * hour):
        wrong = now + 900 * DAY + ahead
        assert held_run(library, wrong) == ([], [now + 901 * DAY])
    assert held_run(library, now + hour) == ([], [])
    # Back by years: what is stored then is not years old as soon as the clock is right again.
    back = now - 900 * DAY
    assert held_run(library, back) == ([], [back + DAY])

    class Past(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return back.astimezone(tz)

    monkeypatch.setattr(retention_state, "datetime", Past)
    during = library.add(age=900 * DAY)
    monkeypatch.undo()
    assert held_run(library, now + 2 * hour) == ([], [])
    with library.database.reading() as session:
        policy = Policy(age=30 * DAY)
        state = retention.of_video(session, video_id=during, policy=policy)
        assert state.remove_at is not None
        assert abs(state.remove_at - now - 30 * DAY) <= 2 * hour
    # A new time that lasts for a day is the right one.
    for days in range(1, 30):
        assert held_run(library, now + days * DAY) == ([video] if days == 29 else [], [])
    assert held_run(library, now + 100 * DAY) == ([], [now + 101 * DAY])
    assert held_run(library, now + 101 * DAY) == ([during], [])


def test_lease_of_a_clock_that_was_ahead_does_not_last_for_years(library: Library) -> None:
    library.add(age=2 * DAY)
    ahead = utc_now() + 900 * DAY
    assert retention_state.claim(library.database, now=ahead) is not None
    held: list[datetime] = []
    assert ids(library.retention(age=DAY).run(held=held.append)) == []
    assert len(held) == 1


def test_other_writers_get_their_turn_during_a_long_run(library: Library) -> None:
    for _ in range(20):
        library.add(age=2 * DAY)
    waits, ended = [], threading.Event()

    def write() -> None:
        while not ended.is_set():
            began = time.monotonic()
            rows.video(library.database)
            waits.append(time.monotonic() - began)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert len(removed(library, age=DAY)) == 20
    finally:
        ended.set()
        writer.join()
    assert len(waits) > 2
    assert max(waits) < 5  # SQLite gives up after ten


def command(library: Library, *arguments: str, **variables: str) -> list[Any]:
    """Return the arguments with which to run the command."""
    url = library.database.engine.url.render_as_string(hide_password=False)
    return [
        [sys.executable, "-m", "app.cli.retention", *arguments],
        service_environment(
            library.storage.root, DATABASE_URL=url.replace("+psycopg", ""), **variables
        ),
    ]


@dataclass(frozen=True)
class Completed:
    """What a command has returned and printed."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Completed]


@pytest.fixture
def run(library: Library, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Run:
    """Return a function that runs the command in this process."""
    for name, value in command(library)[1].items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, **variables: str) -> Completed:
        for name in ("RETENTION_AGE", "RETENTION_BYTES"):
            monkeypatch.setenv(name, variables.get(name, ""))
        try:
            code = cli.main(list(arguments))
        except SystemExit as exited:
            code = int(exited.code or 0)
        printed = capsys.readouterr()
        return Completed(code, printed.out, printed.err)

    return run


def test_command_lists_and_removes_only_when_asked(library: Library, run: Run) -> None:
    old, new = library.add(age=3 * DAY), library.add(age=timedelta(hours=2))
    missing = run()
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "no limit: set RETENTION_AGE or RETENTION_BYTES, or give --age or" in missing.stderr
    wrong = run("--age", "30", RETENTION_AGE="P30D")
    assert wrong.returncode == 1
    assert "RETENTION_AGE: invalid value '30': it must be between an hour" in wrong.stderr
    listed = run("--age", "P1D")
    assert listed.returncode == 0
    day = utc_now() - 3 * DAY
    assert listed.stdout.splitlines()[1:] == [
        f"{old}\tage\t1000\t{day:%Y-%m-%d}\ta.mp4",
        "1 videos with 1000 bytes due",
    ]
    assert library.ids() == {old, new}
    done = run("--remove", RETENTION_AGE="86400")
    assert done.stdout == listed.stdout.replace("due", "removed")
    assert library.ids() == library.files() == {new}


def test_command_says_that_the_clock_has_jumped_or_another_process_is_busy(
    library: Library, run: Run
) -> None:
    old = library.add(age=3 * DAY)
    claim = retention_state.claim(library.database, now=utc_now())
    assert claim is not None
    busy = run("--age", "P1D", "--remove")
    assert busy.returncode == 1
    assert busy.stderr == "retention: another process is removing videos; try again later\n"
    ahead = retention_state.claim(library.database, now=utc_now() + 90 * DAY)
    assert ahead is not None
    held = run("--age", "P1D", "--remove")
    assert held.returncode == 0, held.stderr  # right again
    library.add(age=3 * DAY)
    with library.database.writing() as session:
        state = retention_state.read(session)
        assert state is not None
        state.checked_at = state.trusted_at = utc_now() - 90 * DAY
    held = run("--age", "P1D", "--remove")
    assert held.returncode == 3
    assert "retention: the clock has jumped, or the service was stopped for long" in held.stderr
    assert len(library.ids()) == 1
    assert run("--age", "P1D", "--remove", "--trust-clock").returncode == 0
    assert library.ids() == set()
    assert old not in library.files()


def test_command_reports_an_unusable_database_and_has_help(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/empty.db")
    empty = run("--age", "P1D")
    assert empty.returncode == 1
    assert "the database is not usable (OperationalError); has it been migrated?" in empty.stderr
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file"))
    assert "retention: DATA_DIR: cannot write to" in run("--age", "P1D", "--remove").stderr
    text = run("--help")
    assert text.returncode == 0
    assert "exit codes: 0 done" in text.stdout
    assert "Nothing is removed without --remove." in text.stdout
    assert run("--nonsense").returncode == 2


def test_kill_in_the_middle_leaves_whole_videos_and_the_next_run_goes_on(
    library: Library,
) -> None:
    everything = {library.add(age=2 * DAY) for _ in range(30)}
    line, environment = command(library, "--age", "P1D", "--remove")
    with subprocess.Popen(line, cwd=BACKEND, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(6):  # the heading, and five videos
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    left = library.ids()
    assert 0 < len(left) <= 25
    assert left <= library.files() <= everything
    marks = {uuid.UUID(path.name) for path in (library.storage.root / "incoming").iterdir()}
    assert library.files() - left <= marks  # swept an hour later
    with library.database.reading() as session:
        state = retention_state.read(session)
        assert state is not None
        assert state.removed_by_age == 30 - len(left)
    later = utc_now() + retention_state.LEASE + timedelta(seconds=1)
    successor = library.retention(age=DAY).run(clock=lambda: later, held=unexpected)
    assert set(ids(successor)) == left
    for path in (library.storage.root / "incoming").iterdir():
        os.utime(path, (0, 0))
    with library.database.reading() as session:
        library.storage.sweep(exists=lambda found: videos.exists(session, video_id=found))
    assert library.files() == library.ids() == set()


@contextlib.contextmanager
def client(library: Library, **settings: Any) -> Iterator[TestClient]:
    url = library.database.engine.url.render_as_string(hide_password=False)
    chosen = load_settings(
        {"data_dir": library.storage.root, "database_url": SecretStr(url), **settings}
    )
    with TestClient(create_app(chosen), base_url="http://localhost") as http:
        yield http


def test_nothing_of_it_is_visible_while_it_is_off(library: Library) -> None:
    video = library.add(age=900 * DAY)
    with client(library) as http:
        assert "retention" not in http.get("/openapi.json").text.lower()
        assert "retention" not in http.get("/metrics").text
        assert "retention" not in http.get("/").text
        for place in (RETENTION, f"{VIDEOS}/{video}/retention"):
            assert http.get(place).status_code == 404
    with (
        Readers(library.storage, enabled=False).reading(video),
        library.readers.excluded(video) as free,
    ):
        assert free
    assert library.ids() == {video}


def test_api_lists_what_is_due_and_pins_what_is_to_stay(library: Library) -> None:
    pinned, new = library.add(age=DAY, pinned=True), library.add(age=DAY)
    settings = {"retention_age": 30 * DAY, "retention_bytes": 2000, "max_upload_bytes": 2000}
    with client(library, **settings) as http:
        assert "data-retention" in http.get("/").text
        assert "/api/v1/retention" in http.get("/openapi.json").json()["paths"]
        state = http.get(RETENTION).json()
        assert state == {
            "age": 30 * 86400,
            "bytes": 2000,
            "stored_bytes": 2000,
            "clock_doubted_until": None,
            "due": [],
        }
        extra = library.add(age=timedelta(hours=3), size=700)
        (due,) = http.get(RETENTION).json()["due"]
        assert (due["video_id"], due["reason"], due["in_use"]) == (str(new), "size", False)
        path = f"{VIDEOS}/{new}/retention"
        soon = datetime.fromisoformat(http.get(path).json()["remove_at"])
        assert abs(soon - utc_now() - 29 * DAY) < timedelta(minutes=5)
        reply = http.put(path, json={"pinned": True})
        assert reply.json() == {"pinned": True, "remove_at": None}
        assert ids_of(http.get(RETENTION, params={"limit": 1})) == [str(extra)]
        assert http.put(path, json={"pinned": False}).json()["pinned"] is False
        assert http.put(path, json={"pinned": "perhaps"}).status_code == 422
        nowhere = f"{VIDEOS}/{uuid.uuid4()}/retention"
        assert http.get(nowhere).status_code == 404
        assert http.put(nowhere, json={"pinned": True}).status_code == 404
        text = http.get("/metrics").text
        assert 'retention_removed_videos_total{reason="age"} 0.0' in text
        assert "retention_clock_doubted 0.0" in text
    assert library.ids() == {pinned, new, extra}


def ids_of(reply: Any) -> list[str]:
    return [due["video_id"] for due in reply.json()["due"]]


def test_service_removes_at_start_but_not_what_is_being_streamed(
    library: Library, tmp_path: Path
) -> None:
    streamed, idle = library.add(age=3 * DAY, size=20_000_000), library.add(age=2 * DAY)
    _line, environment = command(library)
    variables = {
        "DATABASE_URL": environment["DATABASE_URL"],
        "RETENTION_AGE": "P1D",
        "RETENTION_BYTES": "2GiB",
    }
    data = library.storage.root
    with servers.api(data, log=tmp_path / "log", variables=variables) as (url, process):
        eventually(lambda: process.output().count('"video.removed"') == 2)
        assert library.ids() == library.files() == set()
        line = next(text for text in process.output().splitlines() if "video.removed" in text)
        assert f'"video_id": "{streamed}", "reason": "age", "size": 20000000' in line
        assert str(idle) in process.output()
        assert 'videos_total{reason="age"} 2.0' in web.get(f"{url}/metrics", timeout=20).text
        watched = library.add(age=3 * DAY, size=20_000_000)
        with web.stream("GET", f"{url}{VIDEOS}/{watched}/content", timeout=60) as reply:
            chunks = reply.iter_raw(1000)
            next(chunks)
            library.rest(watched, hours=2)
            assert removed(library, age=DAY) == []
            assert sum(map(len, chunks)) == 20_000_000 - 1000
        assert removed(library, age=DAY) == []  # players pause between requests
        library.rest(watched, hours=2)
        assert removed(library, age=DAY) == [watched]


def test_every_page_of_the_table_is_read_once(library: Library) -> None:
    old = utc_now() - 9 * DAY
    with library.database.writing() as session:
        session.add_all(
            Video(filename="a", size=1, sha256=f"{n:064x}", container="mov", created_at=old)
            for n in range(450)
        )
        session.add(Analysis(video_id=session.scalars(select(Video.id)).first()))
    found = ids(library.retention(bytes=100).due(now=utc_now()))
    assert len(found) == 350
    assert sorted(set(found)) == found
