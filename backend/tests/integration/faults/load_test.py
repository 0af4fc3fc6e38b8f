"""200 concurrent clients on each database: all are served and no data is lost."""

import hashlib
from pathlib import Path

import httpx2
from tests.support import audit, clips, servers
from tests.support.audit import VIDEOS
from tests.support.swarm import Swarm, memory, print_lines

CLIENTS = 200
READS = 3
ANALYSED_OF = 10
"""Only one in this many uploads is analysed, because analyses are slow."""


def test_two_hundred_concurrent_clients_are_served_without_errors_or_data_loss(
    tmp_path: Path, clip_dir: Path, migrated_url: str
) -> None:
    data = tmp_path / "data"
    source = clips.pattern(clip_dir / "load.mp4", seconds=1, size="64x64", rate="5")
    accepted: dict[str, str] = {}

    async def scenario(swarm: Swarm, client: httpx2.AsyncClient, number: int) -> None:
        content = clips.variant(source, number)
        analyse = "true" if number % ANALYSED_OF == 0 else "false"
        reply = await swarm.ask(
            client,
            "upload",
            f"{VIDEOS}?analyse={analyse}",
            files={"file": ("a.mp4", content, "video/mp4")},
        )
        video = reply.json()["id"]
        accepted[video] = hashlib.sha256(content).hexdigest()
        for _ in range(READS):
            await swarm.ask(client, "list videos", f"{VIDEOS}?limit=20&sort=filename")
            await swarm.ask(client, "read video", f"{VIDEOS}/{video}")
            await swarm.ask(client, "list analyses", "/api/v1/analyses?limit=20")

    variables = {"DATABASE_URL": migrated_url}
    with servers.api(data, log=tmp_path / "log", variables=variables) as (url, process):
        swarm = Swarm(url)
        swarm.run(CLIENTS, scenario)
        print_lines(swarm.report(), f"API: {memory(process.popen.pid)}")
        assert swarm.statuses.pop("upload") == {201}
        assert all(found == {200} for found in swarm.statuses.values()), swarm.statuses
        assert len(accepted) == CLIENTS
        analyses = audit.wait_until_finished(url)
        assert [row["status"] for row in analyses] == ["done"] * (CLIENTS // ANALYSED_OF)
        assert len({row["video_id"] for row in analyses}) == len(analyses)
        audit.check(url, data, accepted=accepted)
        assert audit.incoming_is_empty(data)
