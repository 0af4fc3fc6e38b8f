"""Registries whose front end redirects writes, and credentials that stay where they belong."""

from __future__ import annotations

import random
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.image import layouts_for_test as make
from tools.registry import push
from tools.registry.proxy_for_test import Fault, FaultyHandler, Proxy, Seen, proxying
from tools.registry.registry_for_test import Server, docker_config

TAR = make.tar_bytes({"noise": random.Random(17).randbytes(1_500_000)})

pytestmark = pytest.mark.usefixtures("_short_waits")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    make.make_layout(tmp_path / "image", layers=[TAR])
    return tmp_path / "image"


def _push(layout: Path, repository: str, *flags: str) -> int:
    return push.main(["--layout", str(layout), "--repository", repository, *flags])


class RelativeHandler(FaultyHandler):
    """Answers with addresses without a host, which count from where the request went."""

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, *, cut_after: int | None = None
    ) -> None:
        if "Location" in headers:
            parts = urllib.parse.urlsplit(headers["Location"])
            headers["Location"] = parts._replace(scheme="", netloc="").geturl()
        super()._answer(status, headers, body, cut_after=cut_after)


@contextmanager
def _redirecting(
    upstream: int, status: int, wanted: Callable[[Seen], bool]
) -> Iterator[tuple[Proxy, Proxy]]:
    """A front end that redirects some requests to another host, before the same registry."""
    with proxying(upstream, lambda _: None, handler=RelativeHandler) as back:
        # Another host to a client: another port.
        def decide(seen: Seen) -> Fault | None:
            if not wanted(seen):
                return None
            return Fault(status=status, headers={"Location": f"http://{back.host}{seen.path}"})

        with proxying(upstream, decide) as front:
            yield front, back


WRITES: dict[str, Callable[[Seen], bool]] = {
    "post": lambda seen: seen.method == "POST",
    "patch": lambda seen: seen.method == "PATCH",
    "put-blob": lambda seen: seen.method == "PUT" and "/blobs/" in seen.path,
    "put-manifest": lambda seen: seen.method == "PUT" and "/manifests/" in seen.path,
    "everything": lambda seen: "/v2/written" in seen.path,
}


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("name", WRITES)
def test_writes_follow_a_redirect_that_keeps_the_method(
    server: Server, layout: Path, name: str, status: int
) -> None:
    repository = f"written-{name}-{status}"
    with _redirecting(server.port, status, WRITES[name]) as (front, back):
        assert _push(layout, f"{front.host}/{repository}", "--tag=t") == 0
    server.assert_holds(repository, layout)
    assert back.seen
    if name == "post":
        # The upload goes on at the host it was opened on, whose addresses are relative.
        assert {"PATCH", "PUT"} <= set(back.methods())


def test_a_mount_follows_a_redirect(server: Server, layout: Path) -> None:
    assert _push(layout, f"{server.host}/mounted/from") == 0
    with _redirecting(server.port, 307, WRITES["post"]) as (front, back):
        flags = ["--mount-from=mounted/from"]
        assert _push(layout, f"{front.host}/mounted/to", *flags) == 0
    assert back.methods() == ["POST", "POST"]
    server.assert_holds("mounted/to", layout)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (301, "301 Moved Permanently"),
        (302, "302 Found"),
        (303, "303 See Other"),
    ],
)
def test_a_redirect_that_may_lose_the_method_is_an_error(
    server: Server, layout: Path, status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with _redirecting(server.port, status, WRITES["put-manifest"]) as (front, back):
        assert _push(layout, f"{front.host}/lost", "--tag=t") == 1
    assert text in capsys.readouterr().err
    assert back.seen == []


def test_an_endless_redirect_is_an_error(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def decide(seen: Seen) -> Fault | None:
        return Fault(status=307, headers={"Location": seen.path}) if seen.method == "POST" else None

    with proxying(server.port, decide) as proxy:
        assert _push(layout, f"{proxy.host}/endless") == 1
    error = capsys.readouterr().err
    assert "POST upload of blob sha256:" in error
    assert "307 Temporary Redirect" in error


def test_credentials_are_never_sent_to_another_host(
    basic: Server,
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _redirecting(basic.port, 307, WRITES["post"]) as (front, back):
        # A user who has credentials for the other host too: they are not asked for.
        directory = docker_config(tmp_path / "docker", front.host)
        monkeypatch.setenv("DOCKER_CONFIG", str(directory))
        assert _push(layout, f"{front.host}/kept") == 1
    assert "401 Unauthorized" in capsys.readouterr().err
    assert back.seen
    assert {seen.authorization for seen in back.seen} == {None}
    assert {seen.authorization is None for seen in front.seen if seen.method == "POST"} == {False}


def test_credentials_follow_a_redirect_on_the_same_host(
    basic: Server, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(seen: Seen) -> Fault | None:
        if seen.method != "POST" or "again" in seen.path:
            return None
        return Fault(status=308, headers={"Location": f"{seen.path}?again"})

    with proxying(basic.port, decide) as proxy:
        directory = docker_config(tmp_path / "docker", proxy.host)
        monkeypatch.setenv("DOCKER_CONFIG", str(directory))
        assert _push(layout, f"{proxy.host}/same") == 0
    assert basic.manifest("same", make.root_entry(layout)["digest"]) is not None


@pytest.mark.parametrize("reset", [False, True])
def test_a_server_on_this_machine_that_hangs_up_on_tls_gets_plain_http(
    server: Server, layout: Path, *, reset: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with _hanging_up(server.port, reset=reset) as port:
        assert _push(layout, f"127.0.0.1:{port}/plain-{reset}".lower()) == 0
    server.assert_holds(f"plain-{reset}".lower(), layout)
    assert "retrying" not in capsys.readouterr().err


@contextmanager
def _hanging_up(upstream: int, *, reset: bool) -> Iterator[int]:
    """Pass connections on to a server, but close those that begin with a TLS handshake."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        while block := source.recv(1 << 16):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with client:
            if client.recv(1, socket.MSG_PEEK) == b"\x16":
                if not reset:  # What is unread makes the end a reset.
                    client.recv(1 << 16)
                return
            with socket.create_connection(("127.0.0.1", upstream)) as server:
                forth = threading.Thread(target=pump, args=(client, server), daemon=True)
                forth.start()
                pump(server, client)
                forth.join(10)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
