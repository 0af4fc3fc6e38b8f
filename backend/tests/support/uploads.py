"""Clients that upload from many threads, and remember what they were promised."""

import hashlib
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
from tests.support import clips
from tests.support.audit import VIDEOS


class Uploader:
    """Uploads ever new videos. `accepted` holds the sha256, by id, of all that were answered."""

    def __init__(self, clip: Path) -> None:
        """Take the clip that all videos are made of."""
        self._clip = clip
        self._numbers = itertools.count()
        self.accepted: dict[str, str] = {}
        self.refused: list[int] = []
        """Status of every answer but 201."""

    def upload(self, client: httpx2.Client, url: str) -> None:
        """Upload one more; connections that break are what these tests are about."""
        content = clips.variant(self._clip, next(self._numbers))
        try:
            reply = client.post(url + VIDEOS, files={"file": ("a.mp4", content)})
        except httpx2.TransportError:
            return
        if reply.status_code == 201:
            self.accepted[reply.json()["id"]] = hashlib.sha256(content).hexdigest()
        else:
            self.refused.append(reply.status_code)

    @contextmanager
    def busy(self, url: str, *, clients: int = 4) -> Iterator[None]:
        """Upload from several threads, as long as the block runs."""
        ended = threading.Event()

        def work() -> None:
            with httpx2.Client(timeout=60) as client:
                while not ended.wait(0.02):
                    self.upload(client, url)

        with ThreadPoolExecutor(clients) as pool:
            futures = [pool.submit(work) for _ in range(clients)]
            try:
                yield
            finally:
                ended.set()
        for future in futures:
            future.result()

    def accepts(self, more: int, *, since: int) -> bool:
        """Tell whether `more` have been accepted since there were `since`."""
        return len(self.accepted) >= since + more
