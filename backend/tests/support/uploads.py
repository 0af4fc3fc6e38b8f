"""Clients that upload from many threads and record which uploads were accepted."""

import hashlib
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
from tests.support import clips, web
from tests.support.audit import VIDEOS


class Uploader:
    """Uploads distinct videos. `accepted` maps the id of each accepted video to its sha256."""

    def __init__(self, clip: Path) -> None:
        """Store the clip that all videos are variants of."""
        self._clip = clip
        self._numbers = itertools.count()
        self.accepted: dict[str, str] = {}
        self.rejected: list[int] = []
        """Status of every response other than 201."""

    def upload(self, client: httpx2.Client, url: str) -> None:
        """Upload one more video; ignore broken connections, which these tests provoke."""
        content = clips.variant(self._clip, next(self._numbers))
        try:
            reply = client.post(url + VIDEOS, files={"file": ("a.mp4", content)})
        except httpx2.TransportError:
            return
        if reply.status_code == 201:
            self.accepted[reply.json()["id"]] = hashlib.sha256(content).hexdigest()
        else:
            self.rejected.append(reply.status_code)

    @contextmanager
    def busy(self, url: str, *, clients: int = 4, pause: float = 0.02) -> Iterator[None]:
        """Upload from several threads while the block runs, each with a pause between uploads."""
        done = threading.Event()

        def work() -> None:
            with web.Client(timeout=60) as client:
                while not done.wait(pause):
                    self.upload(client, url)

        with ThreadPoolExecutor(clients) as pool:
            futures = [pool.submit(work) for _ in range(clients)]
            try:
                yield
            finally:
                done.set()
        for future in futures:
            future.result()

    def has_accepted(self, more: int, *, since: int) -> bool:
        """Return whether `more` uploads have been accepted since there were `since`."""
        return len(self.accepted) >= since + more
