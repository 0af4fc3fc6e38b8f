"""Which files of a lock a mirror has no more: a real server on loopback, and a directory."""

from __future__ import annotations

import hashlib
import http.server
import json
import lzma
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.apt.pins import main, report

_GONE = 10
_SINCE = 1795500000  # 2026-11-24
_PACKAGES = "binary-amd64/Packages.xz"


class _Handler(http.server.SimpleHTTPRequestHandler):
    asked: list[str]
    status: int | None = None

    def send_head(self) -> Any:
        self.asked.append(f"{self.command} {self.path}")
        if self.status is not None:
            self.send_error(self.status)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64  # a connection that the kernel drops is tried again after a second


class _Mirror:
    def __init__(self, directory: Path, server: http.server.ThreadingHTTPServer) -> None:
        self.directory = directory
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.handler: Any = server.RequestHandlerClass

    def lock(self, count: int) -> dict[str, Any]:
        """Serve `count` packages, the first ten of them in a newer version alone."""
        packages, records = [], []
        for number in range(count):
            name = f"lib{number:02}+x"
            version = "1" if number >= _GONE else "2"
            path = self.directory / f"pool/{name}_{version}_amd64.deb"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"a package")
            os.utime(path, (_SINCE, _SINCE))
            records.append(
                f"Package: {name}\nVersion: {version}\nDescription: x\n Filename: no\n"
                f"Filename: pool/{path.name}\n"
            )
            packages.append(
                {
                    "name": name,
                    "arch": "amd64",
                    "version": "1",
                    "archive": "debian",
                    "filename": f"pool/{name}_1_amd64.deb",
                }
            )
        index = self.directory / "dists/bookworm/main/binary-amd64/Packages.xz"
        index.parent.mkdir(parents=True)
        index.write_bytes(lzma.compress("\n".join(records).encode()))
        signed = self.directory / "dists/bookworm/InRelease"
        signed.write_text(f"SHA256:\n {64 * 'a'} {index.stat().st_size} main/{_PACKAGES}\n")
        names = [package["name"] for package in packages]
        return {
            "groups": {"base": {"amd64": names[::2]}, "browser": {"amd64": names[1::2]}},
            "image_groups": ["base"],
            "packages": packages,
            "releases": [{"archive": "debian", "suite": "bookworm", "sha256": 64 * "0"}],
            "snapshot": "20261101T000000Z",
        }


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[_Mirror]:
    directory = tmp_path / "mirror"
    directory.mkdir()
    handler = type("Handler", (_Handler,), {"asked": []})

    def make(*arguments: Any) -> Any:
        return handler(*arguments, directory=str(directory))

    with _Server(("127.0.0.1", 0), make) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        found = _Mirror(directory, server)
        found.handler = handler
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def ask(
    mirror: _Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., dict[str, str]]:
    """Return a function that runs the command on a lock of 30 files and returns what is missing."""

    def run(*flags: str, permanent: str) -> dict[str, str]:
        lock, mirrors = tmp_path / "lock.json", tmp_path / "mirrors.json"
        lock.write_text(json.dumps(mirror.lock(30)))
        mirrors.write_text(json.dumps({"debian": [mirror.url]}))
        monkeypatch.setenv("PERMANENT_ARCHIVE", permanent)
        assert main([*flags, str(lock), str(mirrors)]) == 0
        missing: dict[str, str] = json.loads(capsys.readouterr().out)["missing"]
        return missing

    return run


def test_ten_files_that_are_gone_are_told_at_once_and_nothing_is_downloaded(
    mirror: _Mirror, ask: Callable[..., dict[str, str]]
) -> None:
    assert ask(permanent=mirror.url) == {
        f"pool/lib{number:02}+x_1_amd64.deb": (
            f"lib{number:02}+x (amd64) 1: there is 2 in bookworm since 2026-11-24"
        )
        for number in range(_GONE)
    }
    assert {line for line in mirror.handler.asked if line.startswith("GET")} == {
        "GET /dists/bookworm/main/binary-amd64/Packages.xz"
    }


def test_of_an_index_that_changed_only_what_it_has_in_another_version_is_asked_for(
    mirror: _Mirror, ask: Callable[..., dict[str, str]]
) -> None:
    missing = ask("--replaced", permanent=f"{mirror.url}/permanent")
    assert list(missing.values()) == [
        f"lib{number:02}+x (amd64) 1: there is 2 in bookworm since 2026-11-24"
        for number in range(_GONE)
    ]
    asked = {line for line in mirror.handler.asked if "_1_" in line}
    assert asked == {
        f"HEAD {where}/pool/lib{number:02}%2Bx_1_amd64.deb"
        for where in ("", "/permanent/debian/20261101T000000Z")
        for number in range(_GONE)
    }


def test_while_the_index_is_the_locks_one_request_is_all(mirror: _Mirror) -> None:
    lock = mirror.lock(12)
    signed = (mirror.directory / "dists/bookworm/InRelease").read_bytes()
    lock["releases"][0]["sha256"] = hashlib.sha256(signed).hexdigest()
    mirrors = {"debian": [mirror.url]}
    assert report(lock, mirrors, replaced=True, permanent=mirror.url) == {"missing": {}}
    assert mirror.handler.asked == ["GET /dists/bookworm/InRelease"]


def test_instead_of_reading_a_large_index_every_file_of_its_archive_is_asked_for(
    mirror: _Mirror,
) -> None:
    lock = mirror.lock(12)
    signed = f"SHA256:\n {64 * 'a'} {9 << 20} main/{_PACKAGES}\n"
    (mirror.directory / "dists/bookworm/InRelease").write_text(signed)
    found = report(lock, {"debian": [mirror.url]}, replaced=True, permanent=mirror.url)
    assert len(found["missing"]) == _GONE
    assert sum(line.startswith("HEAD /pool/") for line in mirror.handler.asked) == 12 + _GONE


def test_of_a_mirror_that_cannot_be_asked_nothing_is_said_to_be_replaced(mirror: _Mirror) -> None:
    lock = mirror.lock(12)
    nowhere = "http://127.0.0.1:1/debian"
    found = report(lock, {"debian": [nowhere]}, replaced=True, permanent=nowhere)
    assert found == {"missing": {}}
    # Nor is a lock of before the indexes were recorded.
    assert report(lock | {"releases": []}, {"debian": [mirror.url]}, replaced=True)["missing"] == {}


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        (["1.10", "1.9"], "there is 1.10 in bookworm"),
        (["0.9", "1~rc1"], "no newer version is there"),
        (["not a version"], "no newer version is there"),
    ],
)
def test_the_highest_newer_version_is_named(
    mirror: _Mirror, versions: list[str], words: str
) -> None:
    lock = mirror.lock(1)
    records = "\n".join(
        f"Package: lib00+x\nVersion: {version}\nFilename: pool/x.deb\n" for version in versions
    )
    index = mirror.directory / "dists/bookworm/main" / _PACKAGES
    index.write_bytes(lzma.compress(records.encode()))
    found = report(lock, {"debian": [mirror.url]}, permanent=mirror.url)
    assert list(found["missing"].values()) == [f"lib00+x (amd64) 1: {words}"]


def test_a_directory_is_a_mirror_as_well(mirror: _Mirror, tmp_path: Path) -> None:
    lock = mirror.lock(12)
    empty = (tmp_path / "empty").as_uri()
    found = report(lock, {"debian": [empty, mirror.directory.as_uri()]}, permanent=empty)
    assert len(found["missing"]) == _GONE
    lines = list(found["missing"].values())
    assert lines[0].startswith("lib00+x (amd64) 1: there is 2 in bookworm")


def test_a_file_that_another_mirror_or_the_permanent_archive_has_is_not_missing(
    mirror: _Mirror, tmp_path: Path
) -> None:
    lock = mirror.lock(12)
    other = tmp_path / "other/debian/20261101T000000Z/pool"
    other.mkdir(parents=True)
    for number in range(_GONE):
        (other / f"lib{number:02}%2Bx_1_amd64.deb").touch()
        (other / f"lib{number:02}+x_1_amd64.deb").touch()
    permanent = (tmp_path / "other").as_uri()
    mirrors = {"debian": [mirror.url]}
    assert report(lock, mirrors, permanent=permanent) == {"missing": {}}
    # What an update kept is asked for at its own moment.
    lock["packages"][0]["snapshot"] = "20260101T000000Z"
    assert list(report(lock, mirrors, permanent=permanent)["missing"]) == [
        "pool/lib00+x_1_amd64.deb"
    ]


@pytest.mark.parametrize("status", [403, 405, 503])
def test_a_mirror_that_refuses_the_question_says_nothing(mirror: _Mirror, status: int) -> None:
    lock = mirror.lock(12)
    mirror.handler.status = status
    assert report(lock, {"debian": [mirror.url]}, permanent=mirror.url)["missing"] == {}


def test_without_a_mirror_that_answers_nothing_is_missing(mirror: _Mirror) -> None:
    nowhere = "http://127.0.0.1:1/debian"
    lock = mirror.lock(12)
    assert report(lock, {"debian": [nowhere]}, permanent=nowhere)["missing"] == {}


def test_a_host_that_has_no_suite_is_not_a_mirror(mirror: _Mirror) -> None:
    lock = mirror.lock(12)
    (mirror.directory / "dists/bookworm/InRelease").unlink()
    assert report(lock, {"debian": [mirror.url]}, permanent=mirror.url)["missing"] == {}


def test_without_an_index_no_newer_version_is_claimed(mirror: _Mirror) -> None:
    lock = mirror.lock(12)
    (mirror.directory / "dists/bookworm/main/binary-amd64/Packages.xz").write_bytes(b"damaged")
    found = report(lock, {"debian": [mirror.url]}, permanent=mirror.url)
    assert found["missing"]["pool/lib00+x_1_amd64.deb"] == (
        "lib00+x (amd64) 1: no newer version is there"
    )


def test_other_files_than_a_lock_and_its_mirrors_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    path.write_text("[]")
    assert main([str(path), str(path)]) == 1
    assert "pins: wanted a lock and its mirrors, found " in capsys.readouterr().err
    assert main([]) == 1
    assert "found no arguments" in capsys.readouterr().err
