"""Pushing through a real forward proxy, to a registry whose name only the proxy can resolve."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.image import layouts_for_test as make
from tools.image.layout import read_layout
from tools.registry import push
from tools.registry.forward_proxy_for_test import ForwardProxy, forward_proxy
from tools.registry.registry_for_test import PROXIED_HOST, Server, running

# A password that has to be quoted in an address.
USER, PASSWORD = "proxy-user", "p@ss/word"
TAR = make.tar_bytes({"noise": random.Random(17).randbytes(2_000_000)})


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("tls"), tls=True) as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    with forward_proxy(user=USER, password=PASSWORD) as running_proxy:
        yield running_proxy


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    make.make_layout(tmp_path / "image", layers=[TAR])
    return tmp_path / "image"


def _push(layout: Path, repository: str, *flags: str) -> int:
    arguments = ["--layout", str(layout), "--repository", repository, "--retries=0", *flags]
    return push.main(arguments)


def test_tls_goes_through_a_tunnel_and_is_verified_end_to_end(
    secure: Server, proxy: ForwardProxy, layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url(USER, PASSWORD))
    repository = f"{PROXIED_HOST}:{secure.port}/through/tunnel"
    assert _push(layout, repository, f"--ca-file={secure.ca}", "--tag=t") == 0
    stored = secure.manifest("through/tunnel", "t") or b""
    assert make.digest_of(stored) == read_layout(layout).digest
    assert set(proxy.asked) == {("CONNECT", f"{PROXIED_HOST}:{secure.port}")}
    # The proxy cannot put its own certificate in between.
    assert _push(layout, repository) == 1


def test_plain_http_goes_through_the_proxy_when_it_is_allowed(
    tmp_path: Path, proxy: ForwardProxy, layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, proxy.url(USER, PASSWORD))
    with running(tmp_path / "plain") as server:
        repository = f"{PROXIED_HOST}:{server.port}/plain"
        assert _push(layout, repository, "--tag=t") == 1
        assert _push(layout, repository, "--insecure", "--tag=t") == 0
        assert make.digest_of(server.manifest("plain", "t") or b"") == read_layout(layout).digest
    methods = {method for method, target in proxy.asked if target.startswith("http://")}
    assert methods == {"GET", "HEAD", "POST", "PATCH", "PUT"}


def test_a_proxy_that_refuses_is_named_without_its_password(
    proxy: ForwardProxy,
    layout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url(USER, "wrong-one"))
    repository = f"{PROXIED_HOST}:1/x"
    assert _push(layout, repository, "--retries=5") == 1
    out, err = capsys.readouterr()
    # It is not asked again: it would say the same.
    assert err == (
        f"push: {PROXIED_HOST}:1: connection failed through the proxy {proxy.address}: "
        "Tunnel connection failed: 407 Proxy Authentication Required\n"
    )
    assert "wrong-one" not in out + err
    assert proxy.asked == []


def test_no_proxy_means_a_direct_connection(
    secure: Server,
    proxy: ForwardProxy,
    layout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("https_proxy", proxy.url(USER, PASSWORD))
    monkeypatch.setenv("no_proxy", ".example")
    assert _push(layout, f"{PROXIED_HOST}:{secure.port}/x", f"--ca-file={secure.ca}") == 1
    # The name is nobody's but the proxy's.
    assert f"{PROXIED_HOST}:{secure.port}: connection failed: " in capsys.readouterr().err
    assert proxy.asked == []


def test_a_proxy_of_another_protocol_is_refused(
    layout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("https_proxy", "socks5://user:secret-word@127.0.0.1:1")
    assert _push(layout, f"{PROXIED_HOST}/x") == 1
    error = capsys.readouterr().err
    assert "push: https_proxy: must be http://HOST:PORT, found scheme 'socks5'" in error
    assert "secret-word" not in error
