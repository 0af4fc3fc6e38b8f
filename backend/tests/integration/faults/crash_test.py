"""kill -9 of everything, in the middle of uploads and analyses; then nothing may be amiss."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from tests.support import audit, clips, servers
from tests.support.rabbitmq import Broker, rabbitmq
from tests.support.servers import Postgres, Process, Redis, eventually
from tests.support.uploads import Uploader

# Each kill costs the analysis in hand an attempt.
PATIENT = {"ANALYSIS_ATTEMPTS": "20", "LEASE": "2"}
KILLS = 3


@pytest.fixture
def uploader(clip_dir: Path) -> Uploader:
    small = clip_dir / "small.mp4"
    return Uploader(small if small.exists() else clips.pattern(small, seconds=1, size="160x120"))


def some_accepted(uploader: Uploader) -> None:
    since = len(uploader.accepted)
    eventually(lambda: uploader.accepts(3, since=since))


def children(process: Process) -> list[int]:
    tasks = Path(f"/proc/{process.popen.pid}/task")
    return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


def test_killing_the_api_and_its_worker_loses_no_accepted_video_and_leaves_no_file(
    tmp_path: Path, uploader: Uploader, migrated_url: str
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    variables = PATIENT | {"DATABASE_URL": migrated_url}
    for _ in range(KILLS):
        with (
            servers.api(data, log=log, variables=variables) as (url, process),
            uploader.busy(url),
        ):
            some_accepted(uploader)
            process.kill()
    assert uploader.refused == []
    audit.grow_old(data)
    with servers.api(data, log=log, variables=variables) as (url, _process):
        audit.done_once(url)
        eventually(lambda: audit.nothing_left(data))
        audit.check(url, data, accepted=uploader.accepted)


def test_killing_the_database_refuses_uploads_in_words_until_it_is_back_and_loses_none(
    tmp_path: Path, uploader: Uploader
) -> None:
    data = tmp_path / "data"
    with servers.short_directory() as home:
        database = Postgres(home)
        with database.running():
            variables = PATIENT | {"DATABASE_URL": database.create("crash")}
        with (
            database.running() as running,
            servers.api(data, log=tmp_path / "log", variables=variables) as (url, _process),
            uploader.busy(url),
        ):
            some_accepted(uploader)
            running.kill()
            eventually(lambda: 503 in uploader.refused)
            assert httpx2.get(f"{url}/health/live", timeout=20).status_code == 200
            assert httpx2.get(f"{url}/health/ready", timeout=20).status_code == 503
            _restart(database, lambda: some_accepted(uploader))
            # Now the API itself is asked to stop while its database is away.
        assert set(uploader.refused) == {503}
        audit.grow_old(data)
        with (
            database.running(),
            servers.api(data, log=tmp_path / "log", variables=variables) as (url, _process),
        ):
            audit.done_once(url)
            eventually(lambda: audit.nothing_left(data))
            audit.check(url, data, accepted=uploader.accepted)


def _restart(database: Postgres, meanwhile: Callable[[], None]) -> None:
    def attempt() -> bool:
        try:
            with database.running():
                meanwhile()
        except servers.ServerError:
            return False  # the backends of the dead server have not noticed yet
        return True

    eventually(attempt)


@pytest.fixture(params=["rabbitmq", "redis"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker | Redis]:
    """Return a broker that does not run yet, of each kind: one remembers, the other forgets."""
    if request.param == "redis":
        yield Redis(tmp_path)
    else:
        with rabbitmq() as broker:
            yield broker


def test_killing_the_broker_and_the_worker_loses_no_analysis_and_does_none_twice(
    tmp_path: Path, uploader: Uploader, migrated_url: str, broker: Broker | Redis
) -> None:
    data = tmp_path / "data"
    variables = PATIENT | {"DATABASE_URL": migrated_url, "BROKER_URL": broker.url}
    with servers.api(data, log=tmp_path / "api", healthy=False, variables=variables) as (
        url,
        _,
    ):
        for _ in range(2):
            with (
                broker.running() as running,
                servers.celery_worker(data, log=tmp_path / "w", variables=variables) as worker,
                uploader.busy(url, clients=2),
            ):
                some_accepted(uploader)
                eventually(lambda: b'"analysis.started"' in (tmp_path / "w").read_bytes())
                running.kill()
                some_accepted(uploader)
                worker.kill()
        with (
            broker.running(),
            servers.celery_worker(data, log=tmp_path / "w", variables=variables) as worker,
        ):
            audit.done_once(url)
            assert httpx2.get(f"{url}/health", timeout=20).status_code == 200
            assert worker.stop() == 0, worker.output()
        assert uploader.refused == []
        audit.grow_old(data)
        audit.check(url, data, accepted=uploader.accepted)


def test_what_a_broker_forgot_in_a_quick_restart_is_told_again(
    tmp_path: Path, clip: Path, migrated_url: str
) -> None:
    data, broker = tmp_path / "data", Redis(tmp_path)
    variables = PATIENT | {"DATABASE_URL": migrated_url, "BROKER_URL": broker.url}
    with servers.api(data, log=tmp_path / "api", healthy=False, variables=variables) as (url, api):
        with broker.running() as running:
            httpx2.post(
                url + audit.VIDEOS, files={"file": ("a.mp4", clip.read_bytes())}, timeout=60
            ).raise_for_status()
            eventually(lambda: '"analyses.dispatched"' in api.output())
            running.kill()
        with (
            broker.running(),
            servers.celery_worker(data, log=tmp_path / "w", variables=variables) as worker,
        ):
            # Of the order of 15 s; AGAIN_AFTER is much longer than any test has patience for.
            audit.done_once(url)
            assert len(audit.settled(url)) == 1
            assert api.output().count('"analyses.dispatched"') >= 2
            assert worker.stop() == 0, worker.output()


def test_a_worker_process_killed_under_celery_has_its_task_given_back_by_the_broker(
    tmp_path: Path,
    long_clip: Path,
    slowly: dict[str, str],
    new_postgres_url: Callable[[], str],
) -> None:
    data = tmp_path / "data"
    with rabbitmq() as broker, broker.running():
        variables = (
            PATIENT | slowly | {"DATABASE_URL": new_postgres_url(), "BROKER_URL": broker.url}
        )
        with (
            servers.api(data, log=tmp_path / "api", variables=variables) as (url, _),
            servers.celery_worker(data, log=tmp_path / "w", variables=variables) as worker,
        ):
            httpx2.post(
                url + audit.VIDEOS, files={"file": ("long.mp4", long_clip.read_bytes())}, timeout=60
            ).raise_for_status()
            eventually(lambda: b'"analysis.started"' in worker.log.read_bytes())
            for pid in children(worker):
                os.kill(pid, 9)
            audit.done_once(url)
            (analysis,) = audit.settled(url)
            assert analysis["attempts"] == 2
