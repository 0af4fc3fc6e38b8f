"""Real processes (uvicorn, Celery, Redis) that are killed and restarted mid-work."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import clips, programs, servers, web
from tests.support.servers import BACKEND, eventually, service_environment

VIDEOS = "/api/v1/videos"
# uvicorn shuts down gracefully and then re-raises the signal.
STOPPED = -signal.SIGTERM


def upload(url: str, path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        reply = web.post(url + VIDEOS, files={"file": (path.name, file)}, timeout=30)
    assert reply.status_code == 201, reply.text
    video: dict[str, Any] = reply.json()
    return video


def analysis(url: str, video: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = web.get(f"{url}{VIDEOS}/{video['id']}", timeout=10).json()
    current: dict[str, Any] = found["analysis"]
    return current


def finished(url: str, video: dict[str, Any]) -> dict[str, Any]:
    def ask() -> dict[str, Any] | None:
        current = analysis(url, video)
        return current if current["status"] in ("done", "failed") else None

    return eventually(ask, timeout=120)


def wait_until_running(url: str, video: dict[str, Any]) -> None:
    eventually(lambda: analysis(url, video)["status"] == "running")


def healthcheck(url: str) -> int:
    port = url.rsplit(":", 1)[1]
    return subprocess.run(
        [sys.executable, "-m", "app.healthcheck"],
        cwd=BACKEND,
        env=service_environment(Path("/nonexistent"), PORT=port),
        check=False,
        capture_output=True,
    ).returncode


def test_healthcheck_tracks_the_state_of_the_service(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with servers.api(data, log=tmp_path / "log") as (url, process):
        assert healthcheck(url) == 0
        began = time.monotonic()
        assert healthcheck(url) == 0
        assert time.monotonic() - began < 5  # the image's healthcheck timeout
        shutil.rmtree(data)
        assert healthcheck(url) == 1
        assert process.stop() == STOPPED
        assert healthcheck(url) == 1


# All that the first healthy answer needs beside the standard library.
LOADED_AT_START = {
    "annotated_doc", "annotated_types", "anyio", "app", "click", "dotenv", "fastapi", "httptools",
    "main", "opentelemetry", "prometheus_client", "pydantic", "pydantic_core", "pydantic_settings",
    "python_multipart", "sitecustomize", "sqlalchemy", "starlette", "typing_extensions",
    "typing_inspection", "uvicorn", "uvloop",
    "sniffio",  # optional for anyio, and not in the image: the tests' own
}  # fmt: skip
# Of features that are off, of analyses; what only an analysis or a migration needs.
LOADED_LATER = {
    "app.api.retention", "app.api.sign_in", "app.api.webhook_messages", "app.api.webhooks",
    "app.services.gemini", "app.services.oidc", "app.services.sending", "app.services.signing",
    "app.video.decode", "app.video.detector", "app.video.events", "app.worker.broker",
    "app.worker.captions", "app.worker.child", "app.worker.deliverer", "app.worker.runner",
    "app.worker.tasks", "pydantic.v1", "statistics",
}  # fmt: skip


def test_service_becomes_healthy_without_loading_what_only_later_work_needs(
    tmp_path: Path,
) -> None:
    with servers.api(tmp_path / "data", log=tmp_path / "log", variables={"PYTHONVERBOSE": "1"}) as (
        _,
        process,
    ):
        loaded = set(re.findall(r"^import '([\w.]+)' #", process.output(), re.MULTILINE))
    assert {"main", "app.api.health", "sqlalchemy.orm", "uvicorn.server"} <= loaded
    packages = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert packages <= LOADED_AT_START
    assert loaded & LOADED_LATER == set()


def test_every_log_line_is_json_and_contains_no_secret(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with servers.api(
        tmp_path / "data",
        log=log,
        variables={"GEMINI_API_KEY": "hunter2", "GEMINI_DAILY_REQUESTS": "0"},
    ) as (
        url,
        process,
    ):
        web.get(url + VIDEOS)
        process.stop()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    names = [event.get("event") for event in events]
    assert {"database.migrated", "service.started", "request.ended", "service.stopped"} <= set(
        names
    )
    assert "hunter2" not in log.read_text()


def test_analysis_interrupted_by_sigkill_restarts_at_once_and_completes_once(
    tmp_path: Path, long_clip: Path, slowly: dict[str, str]
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    variables = slowly | {"LEASE": "600"}
    with servers.api(data, log=log, variables=variables) as (url, process):
        video = upload(url, long_clip)
        wait_until_running(url, video)
        process.kill()
    # The lease has not expired; the released file lock reveals the dead process.
    with servers.api(data, log=log, variables=variables) as (url, _process):
        eventually(lambda: analysis(url, video)["attempts"] == 2)
        done = finished(url, video)
    assert (done["status"], done["attempts"]) == ("done", 2)
    assert done["result"]["frames_decoded"] == 1800


def test_analysis_is_handed_back_on_graceful_shutdown(
    tmp_path: Path, long_clip: Path, slowly: dict[str, str]
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    with servers.api(data, log=log, variables=slowly) as (url, process):
        video = upload(url, long_clip)
        wait_until_running(url, video)
        began = time.monotonic()
        assert process.stop() == STOPPED
        assert time.monotonic() - began < 15
        assert "service.stopped" in process.output()
    with servers.api(data, log=log, variables=slowly) as (url, _process):
        assert (finished(url, video)["status"], analysis(url, video)["attempts"]) == ("done", 1)


def test_two_processes_on_one_data_directory_do_no_work_twice(
    tmp_path: Path, clip_dir: Path
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    made = [clips.pattern(clip_dir / f"two{rate}.mp4", rate=str(rate)) for rate in (11, 12, 13, 14)]
    with (
        servers.api(data, log=log) as (first, _),
        servers.api(data, log=log) as (second, _),
    ):
        videos = [upload((first, second)[n % 2], path) for n, path in enumerate(made)]
        for video in videos:
            done = finished(second, video)
            assert (done["status"], done["attempts"]) == ("done", 1)


@pytest.fixture
def broker_variables(migrated_postgres: Callable[[], str], redis_url: str) -> dict[str, str]:
    return {"DATABASE_URL": migrated_postgres(), "REDIS_URL": redis_url, "LEASE": "3"}


def test_celery_worker_runs_analyses_queued_by_the_api(
    tmp_path: Path, clip: Path, broker_variables: dict[str, str]
) -> None:
    data = tmp_path / "data"
    with (
        servers.api(data, log=tmp_path / "api", variables=broker_variables) as (url, _),
        servers.celery_worker(data, log=tmp_path / "worker", variables=broker_variables) as worker,
    ):
        assert web.get(f"{url}/health").json()["worker"] == "celery"
        done = finished(url, upload(url, clip))
        assert (done["status"], done["attempts"]) == ("done", 1), worker.output()
        ping = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "app.worker", "inspect", "ping"],
            cwd=BACKEND,
            env=service_environment(data, **broker_variables),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ping.returncode == 0, ping.stderr
        assert "pong" in ping.stdout
        assert worker.stop() == 0


def test_analysis_survives_the_death_of_its_celery_worker(
    tmp_path: Path, long_clip: Path, broker_variables: dict[str, str], slowly: dict[str, str]
) -> None:
    data, variables = tmp_path / "data", broker_variables | slowly
    with servers.api(data, log=tmp_path / "api", variables=variables) as (url, _):
        with servers.celery_worker(data, log=tmp_path / "w1", variables=variables) as worker:
            video = upload(url, long_clip)
            wait_until_running(url, video)
            worker.kill()
        with servers.celery_worker(data, log=tmp_path / "w2", variables=variables):
            done = finished(url, video)
    assert (done["status"], done["attempts"]) == ("done", 2)


def test_celery_worker_hands_its_analysis_back_on_graceful_shutdown(
    tmp_path: Path, long_clip: Path, broker_variables: dict[str, str], slowly: dict[str, str]
) -> None:
    data, variables = tmp_path / "data", broker_variables | slowly | {"LEASE": "60"}
    with servers.api(data, log=tmp_path / "api", variables=variables) as (url, _):
        with servers.celery_worker(data, log=tmp_path / "w1", variables=variables) as worker:
            video = upload(url, long_clip)
            wait_until_running(url, video)
            began = time.monotonic()
            assert worker.stop() == 0, worker.output()
            assert time.monotonic() - began < 20
            assert '"outcome": "handed_back"' in worker.output()
        assert (analysis(url, video)["status"], analysis(url, video)["attempts"]) == ("queued", 0)
        with servers.celery_worker(data, log=tmp_path / "w2", variables=variables):
            done = finished(url, video)
    assert (done["status"], done["attempts"]) == ("done", 1)


def test_video_that_crashes_its_worker_fails_and_the_next_one_is_analysed(
    tmp_path: Path, long_clip: Path, clip: Path, slowly: dict[str, str]
) -> None:
    data = tmp_path / "data"
    with servers.api(data, log=tmp_path / "log", variables=slowly) as (url, process):
        video, other = upload(url, long_clip), upload(url, clip)
        for attempt in (1, 2, 3):
            current = eventually(
                lambda: (
                    found
                    if (found := analysis(url, video))["status"] == "running"
                    and found["attempts"] == attempt  # noqa: B023 - called within the loop
                    else None
                )
            )
            assert current["progress"] < 1
            # Like a crash in a decoder; the service itself keeps running.
            children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children")
            for task in children.parent.parent.iterdir():
                for child in (task / "children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
        failed = finished(url, video)
        assert failed["status"] == "failed"
        assert failed["reason"] == "gave up: the worker died in each of 3 attempts"
        assert finished(url, other)["status"] == "done"
        assert web.get(f"{url}/health").status_code == 200


def test_minimum_memory_limit_suffices_for_full_hd_and_is_reported_when_exceeded(
    tmp_path: Path, clip_dir: Path, broker_variables: dict[str, str]
) -> None:
    ordinary = clips.pattern(clip_dir / "ordinary.mp4", seconds=3, rate="10", size="1920x1080")
    large = clips.still_frames(clip_dir / "large.mkv", size="8192x4320")
    least = {"ANALYSIS_MEMORY": "256MiB"}
    for name, variables in ("embedded", least), ("celery", least | broker_variables):
        data = tmp_path / name
        with (
            servers.api(data, log=tmp_path / "log", variables=variables) as (url, _),
            servers.celery_worker(data, log=tmp_path / "w", variables=variables)
            if name == "celery"
            else contextlib.nullcontext(),
        ):
            assert finished(url, upload(url, ordinary))["status"] == "done"
            failed = finished(url, upload(url, large))
            assert (failed["status"], failed["attempts"]) == ("failed", 1)
            limit = "256 MiB (ANALYSIS_MEMORY)"
            assert failed["reason"] == f"the analysis exceeded the memory limit of {limit}"


def test_upload_during_a_broker_outage_is_analysed_after_recovery(
    tmp_path: Path, clip: Path, new_postgres_url: Callable[[], str]
) -> None:
    data = tmp_path / "data"
    redis = servers.Redis(tmp_path)
    variables = {"DATABASE_URL": new_postgres_url(), "REDIS_URL": redis.url}
    with servers.api(data, log=tmp_path / "api", healthy=False, variables=variables) as (url, _):
        health = web.get(f"{url}/health")
        assert (health.status_code, health.json()["worker"]) == (503, "unreachable")
        assert healthcheck(url) == 1
        video = upload(url, clip)
        assert analysis(url, video)["status"] == "queued"
        with (
            redis.running(),
            servers.celery_worker(data, log=tmp_path / "worker", variables=variables),
        ):
            assert finished(url, video)["status"] == "done"
            assert healthcheck(url) == 0


def test_api_started_before_its_database_migrates_once_it_is_up(
    tmp_path: Path,
) -> None:
    port = servers.free_port()
    variables = {"DATABASE_URL": f"postgresql://backend@127.0.0.1:{port}/late"}
    log = tmp_path / "log"
    with servers.api(tmp_path / "data", log=log, variables=variables, healthy=False) as (url, _):
        health = web.get(f"{url}/health", timeout=20)
        assert health.status_code == 503
        assert health.json()["checks"]["database"]["status"] == "failed"
        assert web.get(url + VIDEOS, timeout=20).status_code == 503
        with servers.postgres(port=port) as create:
            create("late")
            eventually(lambda: web.get(f"{url}/health", timeout=20).status_code == 200)
            assert web.get(url + VIDEOS).json()["videos"] == []


def test_deleting_a_video_stops_its_analysis_and_leaves_no_files(
    tmp_path: Path, long_clip: Path, clip: Path, slowly: dict[str, str]
) -> None:
    data = tmp_path / "data"
    with servers.api(data, log=tmp_path / "log", variables=slowly | {"LEASE": "1"}) as (
        url,
        process,
    ):
        video = upload(url, long_clip)
        wait_until_running(url, video)
        assert web.delete(f"{url}{VIDEOS}/{video['id']}").status_code == 204
        eventually(lambda: '"outcome": "lost"' in process.output())
        assert finished(url, upload(url, clip))["status"] == "done"
        kept = [path for path in (data / "videos").rglob("*") if path.is_file()]
        assert len(kept) == 1
        assert list((data / "incoming").iterdir()) == []


def test_clip_creation_is_aborted_on_disconnect_or_shutdown(tmp_path: Path, clip: Path) -> None:
    data, script = tmp_path / "data", tmp_path / "ffmpeg"
    program = shlex.quote(programs.find("ffmpeg", variable="FFMPEG"))
    # With this ffmpeg, creating a clip would take minutes.
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *libx264*) set -- -readrate 0.01 "$@";; esac\n'
        f'exec {program} "$@"\n'
    )
    script.chmod(0o755)

    def cutting() -> bool:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                line = path.read_bytes()
                if b"libx264" in line and bytes(data) in line:
                    return True
        return False

    variables = {"FFMPEG": str(script)}
    with servers.api(data, log=tmp_path / "log", variables=variables) as (url, process):
        done = finished(url, upload(url, clip))
        (event,) = web.get(f"{url}/api/v1/analyses/{done['id']}/events").json()["events"]
        request = (
            f"GET /api/v1/events/{event['id']}/clip HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        with socket.create_connection(address) as connection:
            connection.sendall(request)
            eventually(cutting)
        eventually(lambda: not cutting())
        eventually(lambda: list((data / "incoming").iterdir()) == [])
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(request)
            eventually(cutting)
            assert process.stop() == STOPPED
            assert connection.recv(100).startswith(b"HTTP/1.1 503")
        assert not cutting()
        assert list((data / "incoming").iterdir()) == []
        assert '"level": "error"' not in process.output()


def test_missing_ffprobe_is_reported_as_unavailable_not_as_an_invalid_video(
    tmp_path: Path, clip: Path
) -> None:
    variables = {"FFPROBE": "/nowhere/ffprobe"}
    with servers.api(tmp_path / "data", log=tmp_path / "log", variables=variables) as (url, _):
        with clip.open("rb") as file:
            reply = web.post(url + VIDEOS, files={"file": file})
        assert (reply.status_code, reply.json()["title"]) == (503, "Temporarily unavailable")
        assert web.get(url + VIDEOS).json()["videos"] == []
