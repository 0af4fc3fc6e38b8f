"""Authorisation and TLS against a real registry, and that no secret is ever shown."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tools.oci import layouts_for_test as make
from tools.oci import push
from tools.oci.layout import read_layout
from tools.oci.proxy_for_test import Fault, Seen, proxying
from tools.oci.registry_for_test import (
    CERTIFICATE,
    KEY,
    PASSWORD,
    USER,
    Server,
    docker_config,
    running,
)

TAR = make.tar_bytes({"a": b"a"})


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    make.make_layout(tmp_path / "image", layers=[TAR])
    return tmp_path / "image"


@pytest.fixture(autouse=True)
def _no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


def _push(layout: Path, repository: str, *flags: str) -> int:
    return push.main(["--layout", str(layout), "--repository", repository, *flags])


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("basic"), basic=True) as server:
        yield server


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("tls"), basic=True, tls=True) as server:
        yield server


def test_a_password_from_dockers_config_opens_the_registry(
    basic: Server, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", basic.host)))
    assert _push(layout, f"{basic.host}/basic", "--tag=t") == 0
    assert basic.manifest("basic", "t") is not None


def test_a_password_from_a_helper_opens_the_registry(
    basic: Server, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "docker-credential-mine"
    answer = json.dumps({"Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\nread -r host\n[ \"$host\" = {basic.host} ] && echo '{answer}'\n")
    helper.chmod(0o755)
    config = {"credHelpers": {basic.host: "mine"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert _push(layout, f"{basic.host}/helper", "--tag=t") == 0


def test_without_credentials_the_error_says_how_to_get_some(
    basic: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _push(layout, f"{basic.host}/x", "--tag=t") == 1
    error = capsys.readouterr().err
    assert "401 Unauthorized" in error
    assert "no credentials were found for this host: log in with 'docker login'" in error
    assert basic.manifest("x", "t") is None


def test_a_wrong_password_is_named_by_its_source_and_not_shown(
    basic: Server,
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = docker_config(tmp_path / "docker", basic.host, password="hunter22")
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))
    assert _push(layout, f"{basic.host}/x", "--verbose") == 1
    out, err = capsys.readouterr()
    assert f"credentials used: {directory}/config.json ('{basic.host}')" in err
    for secret in ("hunter22", base64.b64encode(f"{USER}:hunter22".encode()).decode()):
        assert secret not in out + err


def test_a_secret_that_a_server_repeats_is_not_shown(
    basic: Server,
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def decide(seen: Seen) -> Fault | None:
        if seen.method != "POST":
            return None
        said = f"you sent {seen.authorization}, that is {USER}:{PASSWORD}"
        body = json.dumps({"errors": [{"code": "DENIED", "message": said}]}).encode()
        return Fault(status=403, body=body)

    with proxying(basic.port, decide) as proxy:
        monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", proxy.host)))
        assert _push(layout, f"{proxy.host}/x") == 1
    error = capsys.readouterr().err
    assert f"you sent Basic ***, that is {USER}:***" in error


def test_tls_is_verified_against_the_ca_that_is_named(
    secure: Server, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", secure.host)))
    assert _push(layout, f"{secure.host}/tls", f"--ca-file={CERTIFICATE}", "--tag=t") == 0
    assert make.digest_of(secure.manifest("tls", "t") or b"") == read_layout(layout).digest
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    assert _push(layout, f"{secure.host}/tls") == 0


def test_an_unknown_ca_is_an_error_that_says_what_to_do(
    secure: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _push(layout, f"{secure.host}/tls") == 1
    error = capsys.readouterr().err
    assert f"{secure.host}: its certificate is not trusted: self-signed certificate" in error
    assert "--ca-file or SSL_CERT_FILE" in error


def test_insecure_skips_the_verification(
    secure: Server, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", secure.host)))
    assert _push(layout, f"{secure.host}/insecure", "--insecure") == 0


def test_a_ca_file_that_is_none_is_an_error(
    secure: Server, layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca").write_text("no certificate")
    assert _push(layout, f"{secure.host}/x", f"--ca-file={tmp_path / 'ca'}") == 1
    assert "ca: cannot be used as a file of CA certificates" in capsys.readouterr().err


# Bearer tokens: the registry verifies real signatures, so the token server of this test makes them.


def _integers(der: bytes) -> list[int]:
    """The integers of an RSAPrivateKey (RFC 8017, A.1.2): version, n, e, d, ..."""

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        length, at = data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length, at = int.from_bytes(data[at : at + count], "big"), at + count
        return data[at : at + length], at + length

    body, _ = read(der, 0)
    numbers, at = [], 0
    while at < len(body):
        value, at = read(body, at)
        numbers.append(int.from_bytes(value, "big"))
    return numbers


def _pem(file: Path) -> bytes:
    return base64.b64decode("".join(re.findall(r"^[^-].*$", file.read_text(), flags=re.MULTILINE)))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _token(access: list[dict[str, Any]], *, life: float = 300) -> str:
    """A JSON web token signed with RS256 (RFC 7515, RFC 8017 section 8.2)."""
    certificate = base64.b64encode(_pem(CERTIFICATE)).decode()
    header = {"typ": "JWT", "alg": "RS256", "x5c": [certificate]}
    now = time.time()
    claims = {
        "iss": "test-issuer",
        "sub": USER,
        "aud": "test-registry",
        "exp": int(now + life),
        "nbf": int(now - 60),
        "iat": int(now),
        "jti": "x",
        "access": access,
    }
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
    _, modulus, _, exponent = _integers(_pem(KEY))[:4]
    size = (modulus.bit_length() + 7) // 8
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")
    info = prefix + hashlib.sha256(signed.encode()).digest()
    padded = b"\0\1" + b"\xff" * (size - 3 - len(info)) + b"\0" + info
    signature = pow(int.from_bytes(padded, "big"), exponent, modulus).to_bytes(size, "big")
    return f"{signed}.{_base64url(signature)}"


@contextmanager
def _token_server(requests: list[str], *, lives: list[float]) -> Iterator[str]:
    """A server that gives tokens for what is asked; the n-th lives `lives[n]` seconds."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if self.headers.get("Authorization") != expected:
                self._reply(401, {"errors": [{"code": "UNAUTHORIZED", "message": "who?"}]})
                return
            self._grant(urllib.parse.parse_qs(self.path.partition("?")[2]).get("scope", []))

        def do_POST(self) -> None:
            requests.append(self.path)
            form = urllib.parse.parse_qs(
                self.rfile.read(int(self.headers["Content-Length"])).decode()
            )
            if form["grant_type"] != ["refresh_token"] or form["refresh_token"] != ["refresh-me"]:
                self._reply(401, {})
                return
            self._grant(form["scope"][0].split())

        def _grant(self, scopes: list[str]) -> None:
            access = []
            for scope in scopes:
                kind, name, actions = scope.split(":")
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
            life = lives[min(len(requests), len(lives)) - 1]
            self._reply(200, {"token": _token(access, life=life)})

        def _reply(self, status: int, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
    finally:
        server.shutdown()
        server.server_close()


def test_a_token_is_fetched_for_the_repository_and_the_source_of_mounts(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with (
        _token_server(asked, lives=[300]) as realm,
        running(tmp_path / "registry", token_realm=realm) as server,
    ):
        monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", server.host)))
        assert _push(layout, f"{server.host}/a/source") == 0
        flags = ["--mount-from=a/source", "--tag=t"]
        assert _push(layout, f"{server.host}/a/copy", *flags) == 0
    query = urllib.parse.parse_qs(asked[-1].partition("?")[2])
    assert query["service"] == ["test-registry"]
    assert query["scope"] == ["repository:a/copy:pull,push", "repository:a/source:pull"]
    assert len(asked) == 2


def test_a_token_that_ran_out_is_renewed(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with (
        # The registry allows a minute of difference between clocks.
        _token_server(asked, lives=[300, -120, 300]) as realm,
        running(tmp_path / "registry", token_realm=realm) as server,
    ):
        monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", server.host)))
        assert _push(layout, f"{server.host}/a") == 0
        assert len(asked) == 1
        assert _push(layout, f"{server.host}/b") == 0
    assert len(asked) == 3


def test_a_refresh_token_is_exchanged(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with (
        _token_server(asked, lives=[300]) as realm,
        running(tmp_path / "registry", token_realm=realm) as server,
    ):
        config = {"auths": {server.host: {"identitytoken": "refresh-me"}}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        assert _push(layout, f"{server.host}/a", "--tag=t") == 0
    assert asked == ["/token"]


def test_a_refused_token_is_an_error(
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (
        _token_server([], lives=[300]) as realm,
        running(tmp_path / "registry", token_realm=realm) as server,
    ):
        directory = docker_config(tmp_path / "docker", server.host, password="wrong-one")
        monkeypatch.setenv("DOCKER_CONFIG", str(directory))
        assert _push(layout, f"{server.host}/a") == 1
    error = capsys.readouterr().err
    assert f"token from {realm}: 401 Unauthorized (UNAUTHORIZED: who?)" in error
    assert "wrong-one" not in error
