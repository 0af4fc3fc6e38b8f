"""A disk that really is full: errors instead of crashes, and deletions free space."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.support import clips, servers, web
from tests.support.audit import VIDEOS, check, iterate

MIB = 1024 * 1024


@pytest.fixture
def data() -> Iterator[Path]:
    """A directory on a disk of 12 MiB, which is empty otherwise."""
    folder = Path(os.environ["SMALL_DISK"]) / "data"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def post(url: str, content: bytes) -> httpx2.Response:
    return web.post(
        url + VIDEOS,
        params={"analyse": "false"},
        files={"file": ("a.mp4", content)},
        timeout=60,
    )


def test_full_disk_rejects_uploads_serves_reads_and_recovers_after_deletions(
    data: Path, tmp_path: Path, clip: Path
) -> None:
    padding = b"\0" * MIB  # anything after the last box is ignored
    with servers.api(data, log=tmp_path / "log") as (url, process):
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
        # Fill the disk to the last byte, as another program on it might.
        hog = data / "hog"
        try:
            with hog.open("wb", buffering=0) as file:
                while file.write(b"\0" * 4096):
                    pass
        except OSError:
            pass
        assert post(url, clips.variant(clip, 100)).status_code == 507
        health = web.get(f"{url}/health", timeout=20)
        assert health.status_code == 503
        assert health.json()["checks"]["disk"]["status"] == "failed"
        assert web.get(f"{url}/health/live", timeout=20).status_code == 200
        victim = next(iter(accepted))
        thumbnail = web.get(f"{url}{VIDEOS}/{victim}/thumbnail", timeout=60)
        assert thumbnail.status_code in (200, 507), thumbnail.text
        check(url, data, accepted=accepted)

        for video_id in list(accepted)[:3]:
            reply = web.delete(f"{url}{VIDEOS}/{video_id}", timeout=60)
            assert reply.status_code == 204, reply.text
            del accepted[video_id]
        reply = post(url, clips.variant(clip, 101))
        assert reply.status_code == 201, reply.text
        assert web.get(f"{url}/health", timeout=20).status_code == 200
        assert len(list(iterate(url, VIDEOS, "videos"))) == len(accepted) + 1
        assert '"event": "request.ended", "level": "error"' not in process.output()


def test_resumable_upload_continues_when_there_is_room_again(
    data: Path, tmp_path: Path, clip: Path
) -> None:
    content = clip.read_bytes() + b"\0" * (4 * MIB)  # ignored after the last box
    tus = {"Tus-Resumable": "1.0.0"}
    kind = tus | {"Content-Type": "application/offset+octet-stream"}
    with servers.api(data, log=tmp_path / "log") as (url, _):
        client = httpx2.Client(base_url=url, timeout=60)

        def create(length: int) -> httpx2.Response:
            return client.post("/api/v1/uploads", headers=tus | {"Upload-Length": str(length)})

        def send(place: str, offset: int, part: bytes) -> int:
            headers = kind | {"Upload-Offset": str(offset)}
            return client.patch(place, headers=headers, content=part).status_code

        assert create(13 * MIB).status_code == 507
        place = create(len(content)).headers["location"]
        assert send(place, 0, content[:MIB]) == 204
        hog = data / "hog"
        with hog.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * 4096):
                pass
        assert send(place, MIB, content[MIB:]) == 507
        assert client.head(place, headers=tus).headers["upload-offset"] == str(MIB)
        hog.unlink()
        assert send(place, MIB, content[MIB:]) == 204
        video_id = client.get(place).json()["video_id"]
        stored = client.get(f"{VIDEOS}/{video_id}").json()["sha256"]
        assert stored == hashlib.sha256(content).hexdigest()
        client.close()
