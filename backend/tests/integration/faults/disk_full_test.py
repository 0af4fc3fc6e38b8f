"""A disk that really is full: words instead of a crash, and deleting makes room again."""

import hashlib
import sys
from pathlib import Path

import httpx2
from tests.support import clips, servers, small_disk
from tests.support.audit import VIDEOS, check, every
from tests.support.servers import Process

MIB = 1024 * 1024


def seen_by(process: Process, folder: Path) -> Path:
    return Path(f"/proc/{process.popen.pid}/root{folder}")


def post(url: str, content: bytes) -> httpx2.Response:
    return httpx2.post(
        url + VIDEOS,
        params={"analyse": "false"},
        files={"file": ("a.mp4", content)},
        timeout=60,
    )


def test_a_full_disk_refuses_uploads_serves_what_it_has_and_recovers_by_deleting(
    tmp_path: Path, clip: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    disk = [sys.executable, small_disk.__file__, str(data), str(12 * MIB)]
    padding = b"\0" * MIB  # what follows the last box is not looked at
    with servers.api(data, log=tmp_path / "log", within=disk) as (url, process):
        accepted: dict[str, str] = {}
        for number in range(20):
            content = clips.variant(clip, number) + padding
            reply = post(url, content)
            if reply.status_code != 201:
                break
            accepted[reply.json()["id"]] = hashlib.sha256(content).hexdigest()
        assert len(accepted) > 4
        assert reply.status_code == 507, reply.text
        assert reply.headers["content-type"] == "application/problem+json"
        # And now to the very last byte, as another program on the same disk would.
        hog = seen_by(process, data) / "hog"
        try:
            with hog.open("wb", buffering=0) as file:
                while file.write(b"\0" * 4096):
                    pass
        except OSError:
            pass
        assert post(url, clips.variant(clip, 100)).status_code == 507
        health = httpx2.get(f"{url}/health", timeout=20)
        assert health.status_code == 503
        assert health.json()["checks"]["disk"]["status"] == "failed"
        assert httpx2.get(f"{url}/health/live", timeout=20).status_code == 200
        victim = next(iter(accepted))
        thumbnail = httpx2.get(f"{url}{VIDEOS}/{victim}/thumbnail", timeout=60)
        assert thumbnail.status_code in (200, 507), thumbnail.text
        check(url, seen_by(process, data), accepted=accepted)

        for video_id in list(accepted)[:3]:
            reply = httpx2.delete(f"{url}{VIDEOS}/{video_id}", timeout=60)
            assert reply.status_code == 204, reply.text
            del accepted[video_id]
        reply = post(url, clips.variant(clip, 101))
        assert reply.status_code == 201, reply.text
        assert httpx2.get(f"{url}/health", timeout=20).status_code == 200
        assert len(list(every(url, VIDEOS, "videos"))) == len(accepted) + 1
        assert '"event": "request.ended", "level": "error"' not in process.output()
