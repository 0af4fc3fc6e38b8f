"""Tests of tools/bazel_root/download.py against a real server on loopback."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.bazel_root import download
from tools.bazel_root.download import CancelledError, Store
from tools.bazel_root.lockfile import RootPackage
from tools.bazel_root.mirror_for_test import Mirror, mirror
from tools.cli import ToolError

CONTENT = bytes(range(256)) * 5000
FILENAME = "pool/main/l/lib++/lib++_1_amd64.deb"
PACKAGE = RootPackage(
    name="lib++",
    version="1",
    filename=FILENAME,
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_RETRY_DELAY", 0.0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Mirror]:
    # The "+" of the name arrives as %2B and is asked for as such.
    path = tmp_path / "served" / FILENAME.replace("+", "%2B")
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    with mirror(tmp_path / "served") as running:
        yield running


class Bench:
    """A store in a fresh directory, and the bytes it has reported."""

    def __init__(self, directory: Path, *mirrors: str) -> None:
        self.debs, self.scratch = directory / "debs", directory / "scratch"
        for path in (self.debs, self.scratch):
            path.mkdir(parents=True, exist_ok=True)
        self.reported = 0
        self.cancelled = threading.Event()
        self.store = Store(
            self.debs,
            scratch=self.scratch,
            mirrors=mirrors,
            on_bytes=self._add,
            cancelled=self.cancelled,
        )

    def _add(self, count: int) -> None:
        self.reported += count

    def left(self) -> list[str]:
        return [path.name for path in (*self.debs.iterdir(), *self.scratch.iterdir())]


def test_a_file_is_stored_under_its_hash_and_asked_for_once(tmp_path: Path, server: Mirror) -> None:
    bench = Bench(tmp_path, server.url)
    for _ in range(2):
        assert bench.store.fetch(PACKAGE).read_bytes() == CONTENT
    assert bench.left() == [f"{PACKAGE.sha256}.deb"]
    assert server.requests == ["/" + FILENAME.replace("+", "%2B")]
    assert bench.reported == 2 * len(CONTENT)


def test_corrupted_bytes_are_refused_and_nothing_stays(tmp_path: Path, server: Mirror) -> None:
    server.change = lambda path, content: b"X" + content[1:]
    bench = Bench(tmp_path, server.url)
    with pytest.raises(ToolError) as error:
        bench.store.fetch(PACKAGE)
    found = hashlib.sha256(b"X" + CONTENT[1:]).hexdigest()
    assert f"sha256 is {found}, expected {PACKAGE.sha256}" in str(error.value)
    assert "lib++ 1" in str(error.value)
    assert "set DEBIAN_MIRROR" in str(error.value)
    assert bench.left() == []
    assert bench.reported == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-7], f"size is {len(CONTENT) - 7} bytes, expected {len(CONTENT)}"),
        (CONTENT * 3, "size is more than "),
        (b"<html>Log in</html>", f"size is 19 bytes, expected {len(CONTENT)}"),
    ],
)
def test_a_file_of_another_size_is_refused(
    tmp_path: Path, server: Mirror, content: bytes, message: str
) -> None:
    server.change = lambda path, _: content
    bench = Bench(tmp_path, server.url)
    with pytest.raises(ToolError) as error:
        bench.store.fetch(PACKAGE)
    assert message in str(error.value)
    assert bench.left() == []


def test_a_connection_that_breaks_off_is_an_error(tmp_path: Path, server: Mirror) -> None:
    server.change = lambda path, content: content[:1000]
    server.claimed_size = len(CONTENT)
    bench = Bench(tmp_path, server.url)
    with pytest.raises(ToolError):
        bench.store.fetch(PACKAGE)
    assert len(server.requests) == 2
    assert not list(bench.debs.iterdir())
    assert bench.reported == 0


def test_a_broken_download_is_tried_again(tmp_path: Path, server: Mirror) -> None:
    calls: list[str] = []

    def first_half(path: str, content: bytes) -> bytes:
        calls.append(path)
        return content[: len(content) // 2] if len(calls) == 1 else content

    server.change = first_half
    assert Bench(tmp_path, server.url).store.fetch(PACKAGE).read_bytes() == CONTENT
    assert len(calls) == 2


def test_the_next_mirror_is_asked_when_one_lacks_the_file(tmp_path: Path, server: Mirror) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with mirror(empty) as other:
        bench = Bench(tmp_path, other.url, server.url)
        assert bench.store.fetch(PACKAGE).read_bytes() == CONTENT
        assert len(other.requests) == 1  # 404 does not pass by itself


def test_all_addresses_are_listed_without_credentials(tmp_path: Path, server: Mirror) -> None:
    server.statuses["/" + FILENAME.replace("+", "%2B")] = 503
    with_password = server.url.replace("http://", "http://user:secret@")
    bench = Bench(tmp_path, with_password, "http://127.0.0.1:9/debian", "file:///nowhere")
    with pytest.raises(ToolError) as error:
        bench.store.fetch(PACKAGE)
    message = str(error.value)
    assert "503" in message
    assert f"{server.url}/pool" in message
    assert "http://127.0.0.1:9/debian/pool" in message
    assert "file:///nowhere/pool" in message
    assert "secret" not in message


def test_credentials_of_the_url_are_sent_as_basic_authorization(
    tmp_path: Path, server: Mirror
) -> None:
    server.wanted_authorization = "Basic " + base64.b64encode(b"user:p@ss").decode()
    bench = Bench(tmp_path, server.url.replace("http://", "http://user:p%40ss@"))
    assert bench.store.fetch(PACKAGE).read_bytes() == CONTENT
    wrong = Bench(tmp_path / "other", server.url.replace("http://", "http://user:secret@"))
    with pytest.raises(ToolError) as error:
        wrong.store.fetch(PACKAGE)
    assert "401" in str(error.value)
    assert "secret" not in str(error.value)


def test_a_file_mirror_works(tmp_path: Path) -> None:
    path = tmp_path / "disk" / FILENAME
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert Bench(tmp_path, f"file://{tmp_path}/disk").store.fetch(PACKAGE).read_bytes() == CONTENT


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], b"X" + CONTENT[1:]])
def test_a_stored_file_that_was_damaged_is_fetched_anew(
    tmp_path: Path, server: Mirror, damage: bytes
) -> None:
    bench = Bench(tmp_path, server.url)
    bench.store.fetch(PACKAGE).write_bytes(damage)
    assert bench.store.fetch(PACKAGE).read_bytes() == CONTENT


def test_a_cancelled_store_stops_downloading(tmp_path: Path, server: Mirror) -> None:
    bench = Bench(tmp_path, server.url)
    bench.cancelled.set()
    with pytest.raises(CancelledError):
        bench.store.fetch(PACKAGE)
    assert not list(bench.debs.iterdir())
