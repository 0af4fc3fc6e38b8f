"""Celery workers that are asked to stop at random moments: all end in time, and nothing is lost.

The environment variable STOPS sets how many workers are stopped with each broker. With many, the
broker is also frozen and killed meanwhile.
"""

import contextlib
import itertools
import json
import os
import random
import shlex
import signal
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from tests.support import audit, clips, programs, servers, web
from tests.support.rabbitmq import Broker, rabbitmq
from tests.support.servers import Process, Redis, eventually
from tests.support.swarm import print_lines
from tests.support.uploads import Uploader

from app.worker.broker import PUBLISH_TIMEOUT_S, make_celery, publish

GRACE_S = 10.0
"""After this long container engines send SIGKILL."""
FORCED = "Timeout (0:00:08)!"
"""Printed by a worker that does not stop by itself, before the stack of each thread."""
STOPS = int(os.environ.get("STOPS", "4"))
TOGETHER = min(STOPS, 8)
# The first ones are tried in every run, and so is a broker that works.
STATES = ("repeating", "receiving", "analysing", "idle", "starting")
BROKER_STATES = ("working", "working", "frozen", "working", "working", "killed")
FROZEN_S = 20.0
DUPLICATES = 40

chance = random.Random()


@pytest.fixture
def variables(
    tmp_path: Path, migrated_postgres: Callable[[], str], broker: Broker | Redis
) -> dict[str, str]:
    """Return settings with which one second of video takes two seconds to analyse."""
    program = shlex.quote(programs.find("ffmpeg", variable="FFMPEG"))
    slow = tmp_path / "ffmpeg"
    slow.write_text(f'#!/bin/sh\nexec {program} -readrate 0.5 "$@"\n')
    slow.chmod(0o755)
    return {
        "FFMPEG": str(slow),
        "DATABASE_URL": migrated_postgres(),
        "BROKER_URL": broker.url,
        "LEASE": "3",
        "ANALYSIS_ATTEMPTS": "100",
    }


def wait_for(text: str, worker: Process) -> None:
    """Wait until the worker has printed `text`, but not forever: others may get all the work."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: text in worker.output(), timeout=10)


@dataclass
class Crew:
    """Workers that take tasks from one broker, and how they ended."""

    data: Path
    logs: Path
    variables: dict[str, str]
    duplicate: Callable[[], None]
    endings: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from the signal to the end, by circumstances and exit code."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def work(self) -> contextlib.AbstractContextManager[Process]:
        """Run a worker with a log of its own."""
        log = self.logs / f"worker{next(self.numbers)}"
        return servers.celery_worker(self.data, log=log, variables=self.variables)

    def stop_one(self, state: str, broker_state: str) -> None:
        """Start a worker and stop it at a random moment at which it is in `state`."""
        with self.work() as worker:
            if state == "starting":
                if chance.random() < 0.5:
                    wait_for("[queues]", worker)
                time.sleep(chance.uniform(0, 2))
            elif state == "idle":
                wait_for("ready.", worker)
                time.sleep(chance.uniform(0, 1))
            elif state == "analysing":
                wait_for('"analysis.started"', worker)
                time.sleep(chance.uniform(0, 2))
            else:
                wait_for("ready.", worker)
                self.duplicate()
                wait_for("not_claimed" if state == "repeating" else "received", worker)
                time.sleep(chance.uniform(0, 0.05))
            began = time.monotonic()
            worker.popen.send_signal(signal.SIGTERM)
            code = worker.popen.wait(60)
            seconds = time.monotonic() - began
            self.endings[f"{state}, broker {broker_state}, exit code {code}"].append(seconds)

    def report(self) -> list[str]:
        """Return how often and how fast workers ended, by circumstances and exit code."""
        return [
            f"{name}: {len(seconds)} times, at most {max(seconds):.1f} s"
            for name, seconds in sorted(self.endings.items())
        ]

    def events(self) -> list[dict[str, str]]:
        """Return what the workers have logged."""
        lines = [line for log in self.logs.glob("worker*") for line in log.read_text().splitlines()]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def forced(self) -> int:
        """Return how many workers did not stop by themselves."""
        return sum(FORCED in log.read_text() for log in self.logs.glob("worker*"))


def programs_reading(data: Path) -> list[bytes]:
    """Return the command lines of all running programs that read a stored video."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes())
    return [line for line in lines if bytes(data / "videos") in line]


def test_workers_stopped_at_random_moments_end_in_time_and_lose_or_repeat_nothing(
    tmp_path: Path, clip_dir: Path, variables: dict[str, str], broker: Broker | Redis
) -> None:
    data = tmp_path / "data"
    make_celery.cache_clear()  # each test has its own broker
    celery = make_celery(broker.url, analysis_timeout=60)
    uploader = Uploader(clips.pattern(clip_dir / "second.mp4", seconds=1, size="160x120"))

    def duplicate() -> None:
        rows = audit.iterate(url, "/api/v1/analyses", "analyses")
        ids = [uuid.UUID(row["id"]) for row in rows]
        with contextlib.suppress(OperationalError):  # the broker may be away
            publish(celery, analysis_ids=chance.choices(ids, k=DUPLICATES))

    crew = Crew(data, tmp_path, variables, duplicate)
    rounds = zip(range(0, STOPS, TOGETHER), itertools.cycle(BROKER_STATES), strict=False)
    with (
        servers.api(data, log=tmp_path / "api", variables=variables, healthy=False) as (url, _),
        web.Client(timeout=60) as client,
    ):
        broker_state = "killed"
        while broker_state == "killed":
            with broker.running() as server:
                for number, broker_state in rounds:
                    for _ in range(TOGETHER):
                        uploader.upload(client, url)
                    states = STATES * 2 if number == 0 else chance.choices(STATES, k=TOGETHER)
                    with ThreadPoolExecutor() as pool:
                        stops = [
                            pool.submit(crew.stop_one, each, broker_state)
                            for each in states[:TOGETHER]
                        ]
                        if broker_state != "working":
                            time.sleep(chance.uniform(2, 8))
                        if broker_state == "killed":
                            server.kill()
                        if broker_state == "frozen":
                            server.popen.send_signal(signal.SIGSTOP)
                            time.sleep(FROZEN_S)
                            server.popen.send_signal(signal.SIGCONT)
                    for stop in stops:
                        stop.result()
                    if broker_state == "killed":
                        break
                else:
                    broker_state = "working"
                    print_lines(*crew.report())
                    crew.variables = {
                        **variables,
                        "FFMPEG": programs.find("ffmpeg", variable="FFMPEG"),
                    }
                    with crew.work() as worker:
                        audit.wait_until_finished(url, timeout=300 + 20 * STOPS)
                        audit.check_all_done_once(url)
                        wait_for("ready.", worker)  # it may have had nothing to do
                        assert worker.stop() == 0, worker.output()
        audit.check(url, data, accepted=uploader.accepted)
        analyses = list(audit.iterate(url, "/api/v1/analyses", "analyses"))
    assert max(itertools.chain(*crew.endings.values())) < GRACE_S
    done = Counter(line["analysis_id"] for line in crew.events() if line.get("outcome") == "done")
    assert done == {row["id"]: 1 for row in analyses}
    # Only a worker that did not stop by itself can have left an analysis behind.
    assert sum(row["attempts"] - 1 for row in analyses) <= crew.forced()
    assert programs_reading(data) == []


def test_broker_that_does_not_answer_holds_neither_a_worker_that_stops_nor_a_publisher(
    tmp_path: Path, migrated_postgres: Callable[[], str]
) -> None:
    with rabbitmq() as broker, broker.running() as server:
        variables = {"DATABASE_URL": migrated_postgres(), "BROKER_URL": broker.url}
        with servers.celery_worker(
            tmp_path / "data", log=tmp_path / "log", variables=variables
        ) as worker:
            eventually(lambda: "ready." in worker.output())
            server.popen.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            assert worker.stop() == 1
            assert time.monotonic() - began < GRACE_S
            server.popen.send_signal(signal.SIGCONT)
        assert FORCED in worker.output()
        assert "amqp/transport.py" in worker.output()

        def ids() -> Iterator[uuid.UUID]:
            yield uuid.uuid4()
            server.popen.send_signal(signal.SIGSTOP)
            yield uuid.uuid4()

        celery = make_celery(broker.url, analysis_timeout=60)
        began = time.monotonic()
        try:
            with pytest.raises((OperationalError, TimeoutError)):
                publish(celery, analysis_ids=ids())
        finally:
            server.popen.send_signal(signal.SIGCONT)
        assert time.monotonic() - began < PUBLISH_TIMEOUT_S + 3
