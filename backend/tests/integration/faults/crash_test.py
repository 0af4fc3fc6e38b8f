"""SIGKILL for every component during uploads and analyses; afterwards all invariants hold."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import audit, clips, servers, web
from tests.support.rabbitmq import Broker, rabbitmq
from tests.support.servers import Postgres, Process, Redis, eventually
from tests.support.uploads import Uploader

# Each kill costs the current analysis one attempt.
PATIENT = {"ANALYSIS_ATTEMPTS": "20", "LEASE": "2"}
KILLS = 3


@pytest.fixture
def uploader(clip_dir: Path) -> Uploader:
    small = clip_dir / "small.mp4"
    return Uploader(small if small.exists() else clips.pattern(small, seconds=1, size="160x120"))


def wait_for_uploads(uploader: Uploader) -> None:
    since = len(uploader.accepted)
    eventually(lambda: uploader.has_accepted(3, since=since))


def children(process: Process) -> list[int]:
    tasks = Path(f"/proc/{process.popen.pid}/task")
    return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


def test_killing_api_and_worker_loses_no_accepted_video_and_leaves_no_files(
    tmp_path: Path, uploader: Uploader, migrated_url: str
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    variables = PATIENT | {"DATABASE_URL": migrated_url}
    for _ in range(KILLS):
        with (
            servers.api(data, log=log, variables=variables) as (url, process),
            uploader.busy(url),
        ):
            wait_for_uploads(uploader)
            process.kill()
    assert uploader.rejected == []
    audit.age_incoming(data)
    with servers.api(data, log=log, variables=variables) as (url, _process):
        audit.check_all_done_once(url)
        eventually(lambda: audit.incoming_is_empty(data))
        audit.check(url, data, accepted=uploader.accepted)


def test_killing_the_database_rejects_uploads_until_it_is_back_and_loses_none(
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
            uploader.busy(url, pause=0.3),
        ):
            wait_for_uploads(uploader)
            running.kill()
            eventually(lambda: 503 in uploader.rejected)
            assert web.get(f"{url}/health/live", timeout=20).status_code == 200
            assert web.get(f"{url}/health/ready", timeout=20).status_code == 503
            _restart(database, lambda: wait_for_uploads(uploader))
            # The API is then stopped while its database is down.
        assert set(uploader.rejected) == {503}
        audit.age_incoming(data)
        with (
            database.running(),
            servers.api(data, log=tmp_path / "log", variables=variables) as (url, _process),
        ):
            audit.check_all_done_once(url)
            eventually(lambda: audit.incoming_is_empty(data))
            audit.check(url, data, accepted=uploader.accepted)


def _restart(database: Postgres, meanwhile: Callable[[], None]) -> None:
    def attempt() -> bool:
        try:
            with database.running():
                meanwhile()
        except servers.ServerError:
            return False  # backends of the killed server are still shutting down
        return True

    eventually(attempt)


def test_killing_broker_and_worker_loses_and_repeats_no_analysis(
    tmp_path: Path, uploader: Uploader, migrated_url: str, broker: Broker | Redis
) -> None:
    data = tmp_path / "data"
    variables = PATIENT | {"DATABASE_URL": migrated_url, "BROKER_URL": broker.url}
    with servers.api(data, log=tmp_path / "api", healthy=False, variables=variables) as (
        url,
        _,
    ):
        # The first worker is killed while it analyses, the second one while it starts.
        for _ in range(2):
            with (
                broker.running() as running,
                servers.celery_worker(data, log=tmp_path / "w", variables=variables) as worker,
            ):
                # Few, because all of them have to be analysed.
                with web.Client(timeout=60) as client:
                    for _ in range(3):
                        uploader.upload(client, url)
                eventually(lambda: b'"analysis.started"' in (tmp_path / "w").read_bytes())
                with uploader.busy(url, clients=2, pause=0.2):
                    wait_for_uploads(uploader)
                    running.kill()
                    wait_for_uploads(uploader)
                    worker.kill()
        with (
            broker.running(),
            servers.celery_worker(data, log=tmp_path / "w", variables=variables) as worker,
        ):
            audit.check_all_done_once(url)
            assert web.get(f"{url}/health", timeout=20).status_code == 200
            assert worker.stop() == 0, worker.output()
        assert uploader.rejected == []
        audit.age_incoming(data)
        audit.check(url, data, accepted=uploader.accepted)


def test_messages_lost_in_a_broker_restart_are_republished(
    tmp_path: Path, clip: Path, migrated_url: str
) -> None:
    data, broker = tmp_path / "data", Redis(tmp_path)
    variables = PATIENT | {"DATABASE_URL": migrated_url, "BROKER_URL": broker.url}
    with servers.api(data, log=tmp_path / "api", healthy=False, variables=variables) as (url, api):
        with broker.running() as running:
            web.post(
                url + audit.VIDEOS, files={"file": ("a.mp4", clip.read_bytes())}, timeout=60
            ).raise_for_status()
            eventually(lambda: '"analyses.dispatched"' in api.output())
            running.kill()
        with (
            broker.running(),
            servers.celery_worker(data, log=tmp_path / "w", variables=variables) as worker,
        ):
            # Takes about 15 s; REDISPATCH_AFTER would take far longer.
            audit.check_all_done_once(url)
            assert len(audit.wait_until_finished(url)) == 1
            assert api.output().count('"analyses.dispatched"') >= 2
            assert worker.stop() == 0, worker.output()


def test_task_of_a_killed_celery_pool_process_is_redelivered(
    tmp_path: Path,
    long_clip: Path,
    slowly: dict[str, str],
    migrated_postgres: Callable[[], str],
) -> None:
    data = tmp_path / "data"
    with rabbitmq() as broker, broker.running():
        variables = (
            PATIENT | slowly | {"DATABASE_URL": migrated_postgres(), "BROKER_URL": broker.url}
        )
        with (
            servers.api(data, log=tmp_path / "api", variables=variables) as (url, _),
            servers.celery_worker(data, log=tmp_path / "w", variables=variables) as worker,
        ):
            web.post(
                url + audit.VIDEOS, files={"file": ("long.mp4", long_clip.read_bytes())}, timeout=60
            ).raise_for_status()
            eventually(lambda: b'"analysis.started"' in worker.log.read_bytes())
            for pid in children(worker):
                os.kill(pid, 9)
            audit.check_all_done_once(url)
            (analysis,) = audit.wait_until_finished(url)
            assert analysis["attempts"] == 2
