"""Start-up time, latencies with 200 concurrent readers, and memory of the service.

    tools/bazelw test //backend/tests/benchmarks:service_benchmark --test_output=all

The clients run on the same machine, so the latencies are upper bounds. Start-up is compared with
importing only FastAPI and uvicorn, the minimum for any such service. It never fails because of
slowness.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr
from tests.support import clips, rows, servers
from tests.support.audit import FINAL, VIDEOS
from tests.support.swarm import Swarm, memory, print_lines

from app.db import Database
from app.services import schema
from app.settings import load_settings

CLIENTS = 200
READS = 10
ROWS = 1000
RUNS = 7


def prepare_database(kind: str, folder: Path, create: Callable[[str], str]) -> str:
    url = f"sqlite:///{folder}/speed.db" if kind == "sqlite" else create("speed")
    settings = load_settings({"database_url": SecretStr(url)})
    schema.upgrade(settings.sqlalchemy_url())
    database = Database(settings.sqlalchemy_url())
    for number in range(ROWS):
        rows.video(database, filename=f"{number}.mp4")
    database.close()
    return url


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_read_throughput(kind: str, tmp_path: Path) -> None:
    with servers.postgres() as create:
        variables = {"DATABASE_URL": prepare_database(kind, tmp_path, create)}
        with servers.api(tmp_path, log=tmp_path / "log", variables=variables) as (url, process):
            idle = memory(process.popen.pid)
            ids = [row["id"] for row in httpx2.get(url + VIDEOS).json()["videos"]]

            async def scenario(swarm: Swarm, client: httpx2.AsyncClient, number: int) -> None:
                for _ in range(READS):
                    await swarm.ask(client, "list videos", VIDEOS)
                    await swarm.ask(client, "list, sorted", f"{VIDEOS}?sort=filename")
                    await swarm.ask(client, "list, named", f"{VIDEOS}?name=77")
                    await swarm.ask(client, "read video", f"{VIDEOS}/{ids[number % len(ids)]}")
                    await swarm.ask(client, "list analyses", "/api/v1/analyses")

            began = time.perf_counter()
            swarm = Swarm(url)
            swarm.run(CLIENTS, scenario)
            rate = 5 * READS * CLIENTS / (time.perf_counter() - began)
            print_lines(f"\n{kind}, {ROWS} videos, {CLIENTS} clients: {rate:.0f} requests/s")
            print_lines(swarm.report())
            print_lines(f"API: idle {idle}; after load {memory(process.popen.pid)}")


def test_memory_of_a_worker(tmp_path: Path) -> None:
    clip = clips.pattern(tmp_path / "clip.mp4", seconds=10, size="1280x720")
    with servers.api(tmp_path / "data", log=tmp_path / "log") as (url, process):
        files = {"file": ("a.mp4", clip.read_bytes())}
        video = httpx2.post(url + VIDEOS, files=files, timeout=60).json()

        def ended() -> bool:
            found = httpx2.get(f"{url}{VIDEOS}/{video['id']}").json()["analysis"]
            return found["status"] in FINAL

        servers.eventually(ended)
        tasks = Path(f"/proc/{process.popen.pid}/task").iterdir()
        children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        print_lines(f"\nAPI: {memory(process.popen.pid)}")
        for pid in children:
            print_lines(f"worker after ten seconds of 720p: {memory(pid)}")


def test_cold_start(tmp_path: Path) -> None:
    bare, ours = [], []
    for number in range(RUNS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import fastapi, uvicorn"], check=True)
        bare.append(time.perf_counter() - began)
        began = time.perf_counter()
        with servers.api(tmp_path / str(number), log=tmp_path / "log"):
            ours.append(time.perf_counter() - began)
    print_lines(
        f"\nimports only {min(bare):.2f} s, to the first healthy response {min(ours):.2f} s"
    )
