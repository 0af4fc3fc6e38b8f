"""Authorisation and TLS against a real registry, and that no secret is ever shown."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.image import layouts_for_test as make
from tools.image.layout import read_layout
from tools.registry import push
from tools.registry.proxy_for_test import Fault, Seen, proxying
from tools.registry.registry_for_test import (
    PASSWORD,
    USER,
    Server,
    docker_config,
    running,
)
from tools.registry.token_server_for_test import REFRESH_TOKEN, TokenServer, token_server

TAR = make.tar_bytes({"a": b"a"})


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    make.make_layout(tmp_path / "image", layers=[TAR])
    return tmp_path / "image"


def _push(layout: Path, repository: str, *flags: str) -> int:
    return push.main(["--layout", str(layout), "--repository", repository, *flags])


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("tls"), basic=True, tls=True) as server:
        yield server


def test_a_password_from_dockers_config_is_accepted(
    basic: Server, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", basic.host)))
    assert _push(layout, f"{basic.host}/basic", "--tag=t") == 0
    assert basic.manifest("basic", "t") is not None


def test_a_password_from_a_helper_is_accepted(
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


def test_without_credentials_the_error_says_how_to_log_in(
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


def test_a_secret_quoted_by_a_server_is_not_shown(
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


def test_tls_is_verified_with_the_given_ca(
    secure: Server, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", secure.host)))
    assert _push(layout, f"{secure.host}/tls", f"--ca-file={secure.ca}", "--tag=t") == 0
    assert make.digest_of(secure.manifest("tls", "t") or b"") == read_layout(layout).digest
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.ca))
    assert _push(layout, f"{secure.host}/tls") == 0


def test_an_unknown_ca_is_an_error_that_says_what_to_do(
    secure: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _push(layout, f"{secure.host}/tls") == 1
    error = capsys.readouterr().err
    assert f"{secure.host}: its certificate is not trusted: unable to get local issuer" in error
    assert "--ca-file or SSL_CERT_FILE" in error


def test_insecure_skips_the_verification(
    secure: Server, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", secure.host)))
    assert _push(layout, f"{secure.host}/insecure", "--insecure") == 0


def test_an_invalid_ca_file_is_an_error(
    secure: Server, layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca").write_text("no certificate")
    assert _push(layout, f"{secure.host}/x", f"--ca-file={tmp_path / 'ca'}") == 1
    assert "ca: cannot be used as a file of CA certificates" in capsys.readouterr().err


# Bearer tokens, whose signatures the registry verifies.


@contextmanager
def _with_tokens(tmp_path: Path, *lives: float) -> Iterator[tuple[Server, TokenServer]]:
    with (
        token_server(tmp_path / "tokens", lives=lives or (300,)) as tokens,
        running(tmp_path / "registry", token_realm=tokens.realm, token_ca=tokens.ca) as server,
    ):
        yield server, tokens


def test_a_token_is_fetched_for_the_repository_and_the_source_of_mounts(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _with_tokens(tmp_path) as (server, tokens):
        monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", server.host)))
        assert _push(layout, f"{server.host}/a/source") == 0
        flags = ["--mount-from=a/source", "--tag=t"]
        assert _push(layout, f"{server.host}/a/copy", *flags) == 0
    query = urllib.parse.parse_qs(tokens.asked[-1].partition("?")[2])
    assert query["service"] == ["test-registry"]
    assert query["scope"] == ["repository:a/copy:pull,push", "repository:a/source:pull"]
    assert len(tokens.asked) == 2


def test_an_expired_token_is_renewed(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The registry allows a minute of difference between clocks.
    with _with_tokens(tmp_path, 300, -120, 300) as (server, tokens):
        monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", server.host)))
        assert _push(layout, f"{server.host}/a") == 0
        assert len(tokens.asked) == 1
        assert _push(layout, f"{server.host}/b") == 0
    assert len(tokens.asked) == 3


def test_a_refresh_token_is_exchanged(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _with_tokens(tmp_path) as (server, tokens):
        config = {"auths": {server.host: {"identitytoken": REFRESH_TOKEN}}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        assert _push(layout, f"{server.host}/a", "--tag=t") == 0
    assert tokens.asked == ["/token"]


def test_a_refused_token_is_an_error(
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _with_tokens(tmp_path) as (server, tokens):
        directory = docker_config(tmp_path / "docker", server.host, password="wrong-one")
        monkeypatch.setenv("DOCKER_CONFIG", str(directory))
        assert _push(layout, f"{server.host}/a") == 1
    error = capsys.readouterr().err
    assert f"token from {tokens.realm}: 401 Unauthorized (UNAUTHORIZED: who?)" in error
    assert "wrong-one" not in error


def test_a_read_only_token_is_an_error_that_says_how_to_log_in(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with _with_tokens(tmp_path) as (server, _):
        assert _push(layout, f"{server.host}/a", "--tag=t") == 1
    error = capsys.readouterr().err
    assert "POST upload of blob sha256:" in error
    assert "401 Unauthorized (UNAUTHORIZED: authentication required)" in error
    assert "no credentials were found for this host: log in with 'docker login'" in error


def test_a_registry_with_public_read_access_gets_credentials_when_it_asks(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _with_tokens(tmp_path) as (server, tokens):
        # It lets everybody ask, and wants to know who writes.
        def decide(seen: Seen) -> Fault | None:
            if seen.path == "/v2/":
                return Fault(status=200, body=b"{}")
            return Fault(status=404) if seen.method == "HEAD" else None

        with proxying(server.port, decide) as proxy:
            directory = docker_config(tmp_path / "docker", proxy.host)
            monkeypatch.setenv("DOCKER_CONFIG", str(directory))
            assert _push(layout, f"{proxy.host}/a", "--tag=t", "--jobs=4") == 0
        # However many threads were refused at once.
        assert len(tokens.asked) == 1
        refused = [seen for seen in proxy.seen if seen.method == "POST" and not seen.authorization]
        assert 1 <= len(refused) <= 2


def test_a_dry_run_names_the_source_of_credentials_and_requests_no_write_access(
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _with_tokens(tmp_path) as (server, tokens):
        directory = docker_config(tmp_path / "docker", server.host)
        monkeypatch.setenv("DOCKER_CONFIG", str(directory))
        assert _push(layout, f"{server.host}/a", "--tag=t", "--dry-run") == 0
        scopes = urllib.parse.parse_qs(tokens.asked[-1].partition("?")[2])["scope"]
    assert scopes == ["repository:a:pull"]
    out, err = capsys.readouterr()
    assert f"credentials for {server.host}: {directory}/config.json ('{server.host}')\n" in err
    assert PASSWORD not in out + err


def test_a_push_of_a_failing_registry_shows_no_token(
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen_tokens: list[str] = []

    def decide(seen: Seen) -> Fault | None:
        if seen.authorization is None or seen.method != "PUT":
            return None
        seen_tokens.append(seen.authorization.removeprefix("Bearer "))
        message = f"\x1b[2Jyour token {seen_tokens[-1]} is bad"
        body = json.dumps({"errors": [{"code": "DENIED", "message": message}]}).encode()
        return Fault(status=403, body=body)

    with _with_tokens(tmp_path) as (server, _), proxying(server.port, decide) as proxy:
        monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", proxy.host)))
        assert _push(layout, f"{proxy.host}/a", "--verbose") == 1
    out, err = capsys.readouterr()
    assert seen_tokens
    assert all(token not in out + err for token in seen_tokens)
    # Nor does what it says reach the terminal's controls.
    assert "?[2Jyour token *** is bad" in err
