"""Pulling from a real registry: what arrives, what is verified, what is asked of whom."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tools.image import layouts_for_test as make
from tools.image.layout import blob_path, read_layout, verify_layers
from tools.oci import index
from tools.registry import pull, push
from tools.registry.proxy_for_test import Fault, Seen, proxying
from tools.registry.registry_for_test import (
    PASSWORD,
    USER,
    Server,
    docker_config,
)

_RANDOM = random.Random(5)
TARS = [make.tar_bytes({"noise": _RANDOM.randbytes(size)}) for size in (200_000, 3_000_000)]
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def _push(layout: Path, repository: str, *flags: str) -> None:
    assert push.main(["--layout", str(layout), "--repository", repository, *flags]) == 0


def _image(path: Path, *, tars: list[bytes] = TARS, **config: Any) -> str:
    return make.make_layout(path, layers=tars, config_extra=config)


def _pushed(server: Server, tmp_path: Path) -> str:
    digest = _image(tmp_path / "image")
    _push(tmp_path / "image", f"{server.host}/app")
    return digest


def _flags(host: str, digest: str, out: Path, *more: str) -> list[str]:
    return ["--image", f"{host}/app", "--reference", digest, "--layout", str(out), *more]


def _pull(host: str, digest: str, out: Path, *more: str) -> int:
    return pull.main(["fetch", *_flags(host, digest, out, *more)])


def _blobs(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (path / "blobs" / "sha256").iterdir()}


@pytest.mark.parametrize("media_type", [make.OCI_MANIFEST, DOCKER])
def test_an_image_comes_back_byte_identical(
    server: Server, tmp_path: Path, media_type: str
) -> None:
    digest = make.make_layout(tmp_path / "image", layers=TARS, media_type=media_type)
    _push(tmp_path / "image", f"{server.host}/app")
    for name in ("out", "again"):
        assert _pull(server.host, digest, tmp_path / name) == 0
    image = read_layout(tmp_path / "out")
    verify_layers(image)
    assert (image.digest, image.media_type) == (digest, media_type)
    assert _blobs(tmp_path / "out") == _blobs(tmp_path / "image") == _blobs(tmp_path / "again")
    indexes = {(tmp_path / name / "index.json").read_bytes() for name in ("out", "again")}
    assert len(indexes) == 1


def test_a_tag_is_resolved_to_its_digest(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = _image(tmp_path / "image")
    _push(tmp_path / "image", f"{server.host}/app", "--tag", "v1")
    capsys.readouterr()
    asked = ["resolve", "--image", f"{server.host}/app", "--reference"]
    assert pull.main([*asked, "v1"]) == 0
    assert capsys.readouterr().out == f"{digest}\n"
    assert pull.main([*asked, "v2"]) == 1
    message = capsys.readouterr().err
    assert f"{server.host}/app: manifest v2: 404" in message
    assert "MANIFEST_UNKNOWN" in message


@pytest.fixture
def many(server: Server, tmp_path: Path) -> dict[str, str]:
    """Digests of an index in the registry (`index`) and of its images, by platform."""
    digests = {}
    images = []
    for name, config in {
        "linux/amd64": {"architecture": "amd64"},
        "linux/arm64/v8": {"architecture": "arm64", "variant": "v8"},
        "linux/arm/v6": {"architecture": "arm", "variant": "v6"},
    }.items():
        path = tmp_path / name.replace("/", "_")
        digests[name] = _image(path, tars=TARS[:1], **config)
        images += ["--image", str(path)]
    out = ["--output", str(tmp_path / "all"), "--digest-output", str(tmp_path / "digest")]
    assert index.main([*images, *out, "--label", "//x:y"]) == 0
    _push(tmp_path / "all", f"{server.host}/app")
    return {**digests, "index": (tmp_path / "digest").read_text().strip()}


@pytest.mark.parametrize(
    ("platform", "found"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm/v6", "linux/arm/v6"),
    ],
)
def test_the_image_of_the_platform_is_pulled_from_an_index(
    server: Server, tmp_path: Path, many: dict[str, str], platform: str, found: str
) -> None:
    out = tmp_path / "out"
    assert _pull(server.host, many["index"], out, "--platform", platform) == 0
    assert read_layout(out).digest == many[found]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "is a multi-architecture image, so attribute 'platforms' is required; it has "),
        (["--platform", "linux/arm/v7"], "has no image for platform linux/arm/v7; it has "),
        (["--platform", "linux/s390x"], "linux/amd64, linux/arm64/v8, linux/arm/v6"),
    ],
)
def test_a_missing_platform_is_refused_with_those_that_exist(
    server: Server,
    tmp_path: Path,
    many: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    assert _pull(server.host, many["index"], tmp_path / "out", *flags) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "index.json").exists()


def test_an_image_for_another_platform_is_refused(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = _pushed(server, tmp_path)
    assert _pull(server.host, digest, tmp_path / "out", "--platform", "linux/arm64") == 1
    assert "is an image for linux/amd64, wanted linux/arm64" in capsys.readouterr().err


def test_present_blobs_are_not_requested(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = _pushed(server, tmp_path)
    out = tmp_path / "out"
    capsys.readouterr()

    def missing() -> list[str]:
        # A port nobody listens on: this command must not need it.
        assert pull.main(["missing", *_flags("127.0.0.1:1", digest, out)]) == 0
        found: list[str] = json.loads(capsys.readouterr().out)
        return found

    assert missing() == [digest]
    manifest = blob_path(out, digest)
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes(blob_path(tmp_path / "image", digest).read_bytes())
    image = read_layout(tmp_path / "image")
    config, layers = image.manifest["config"]["digest"], [each.digest for each in image.layers]
    assert missing() == [config, *layers]
    blob_path(out, layers[1]).write_bytes(image.layers[1].path.read_bytes())
    with proxying(server.port, lambda _: None) as proxy:
        assert _pull(proxy.host, digest, out) == 0
    asked = {seen.path for seen in proxy.seen} - {"/v2/"}
    assert asked == {f"/v2/app/blobs/{each}" for each in (config, layers[0])}
    fetched = json.loads(capsys.readouterr().out)
    assert sorted(fetched) == sorted([config, layers[0]])
    assert missing() == []
    assert _pull("127.0.0.1:1", digest, out) == 0


def test_an_interrupted_download_resumes(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = _pushed(server, tmp_path)
    big = read_layout(tmp_path / "image").layers[1].digest

    def cut_three_times(request: Seen) -> Fault | None:
        asked = sum(1 for each in proxy.seen if each.path == request.path)
        return Fault(cut_after=700_000) if big in request.path and asked <= 3 else None

    with proxying(server.port, cut_three_times) as proxy:
        assert _pull(proxy.host, digest, tmp_path / "out") == 0
    verify_layers(read_layout(tmp_path / "out"))
    ranges = [each.range for each in proxy.seen if big in each.path]
    assert ranges == [None, "bytes=700000-", "bytes=1400000-", "bytes=2100000-"]
    assert "resuming at byte 700000" in capsys.readouterr().err


def test_without_ranges_a_download_restarts(server: Server, tmp_path: Path) -> None:
    digest = _pushed(server, tmp_path)
    layer = read_layout(tmp_path / "image").layers[1]

    def no_ranges(request: Seen) -> Fault | None:
        if layer.digest not in request.path:
            return None
        if request.range is None:
            return Fault(cut_after=900_000)
        return Fault(status=200, body=layer.path.read_bytes())

    with proxying(server.port, no_ranges) as proxy:
        assert _pull(proxy.host, digest, tmp_path / "out") == 0
    verify_layers(read_layout(tmp_path / "out"))


def test_requests_to_a_busy_registry_are_retried(server: Server, tmp_path: Path) -> None:
    digest = _pushed(server, tmp_path)

    def busy(request: Seen) -> Fault | None:
        if sum(1 for each in proxy.seen if each.path == request.path) > 1:
            return None
        if "/blobs/" in request.path:
            return Fault(status=429, headers={"Retry-After": "0"})
        return Fault(status=503) if "/manifests/" in request.path else None

    with proxying(server.port, busy) as proxy:
        assert _pull(proxy.host, digest, tmp_path / "out") == 0
    verify_layers(read_layout(tmp_path / "out"))


@pytest.mark.parametrize(
    ("kind", "longer", "message"),
    [
        ("/blobs/", 0, "the registry sent bytes with digest sha256:"),
        ("/blobs/", 1, "the registry sends more than the"),
        ("/manifests/", 0, "the registry sent one with digest sha256:"),
    ],
)
def test_wrong_bytes_from_a_registry_are_detected(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    longer: int,
    message: str,
) -> None:
    digest = _pushed(server, tmp_path)

    def lie(request: Seen) -> Fault | None:
        if kind not in request.path:
            return None
        true = server.get(request.path)[2]
        return Fault(status=200, body=b"x" * (len(true) + longer))

    with proxying(server.port, lie) as proxy:
        assert _pull(proxy.host, digest, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert f"oci_pull: {proxy.host}/app" in error
    assert message in error
    # What is kept under a digest has that digest, and nothing is left half-done.
    kept = _blobs(tmp_path / "out") if (tmp_path / "out" / "blobs").exists() else {}
    assert {f"sha256:{name}": name for name in kept} == {
        make.digest_of(data): name for name, data in kept.items()
    }
    assert not (tmp_path / "out" / "index.json").exists()


def test_an_old_manifest_is_refused(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = json.dumps({"schemaVersion": 1, "fsLayers": []}).encode()
    with proxying(
        server.port,
        lambda request: Fault(status=200, body=old) if "/manifests/" in request.path else None,
    ) as proxy:
        assert _pull(proxy.host, make.digest_of(old), tmp_path / "out") == 1
    assert "must be a manifest of schemaVersion 2" in capsys.readouterr().err


class TestCredentials:
    """The places docker and podman keep them in, and the attribute `config`."""

    @pytest.fixture
    def digest(self, basic: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        digest = _image(tmp_path / "image", tars=TARS[:1])
        with monkeypatch.context() as patch:
            patch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "pusher", basic.host)))
            _push(tmp_path / "image", f"{basic.host}/app")
        return digest

    @pytest.mark.parametrize("place", ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "HOME", "--config"])
    def test_a_file_is_found(
        self,
        basic: Server,
        digest: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        place: str,
    ) -> None:
        home = tmp_path / "home"
        directory = docker_config(home / ".docker", basic.host)
        flags = []
        if place == "HOME":
            monkeypatch.setenv("HOME", str(home))
        elif place == "--config":
            flags = ["--config", str(directory / "config.json")]
        else:
            file = directory / "config.json" if place == "REGISTRY_AUTH_FILE" else directory
            monkeypatch.setenv(place, str(file))
        assert _pull(basic.host, digest, tmp_path / "out", *flags) == 0
        verify_layers(read_layout(tmp_path / "out"))

    def test_a_helper_is_run(
        self, basic: Server, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        helper = tmp_path / "docker-credential-mine"
        answer = json.dumps({"Username": USER, "Secret": PASSWORD})
        helper.write_text(f"#!/bin/sh\nread host\n[ $host = {basic.host} ] && echo '{answer}'\n")
        helper.chmod(0o755)
        (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {basic.host: "mine"}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        assert _pull(basic.host, digest, tmp_path / "out") == 0

    def test_without_credentials_the_error_says_how_to_log_in(
        self, basic: Server, digest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert _pull(basic.host, digest, tmp_path / "out") == 1
        error = capsys.readouterr().err
        assert "401" in error
        assert "log in with 'docker login'" in error

    def test_a_wrong_password_is_not_shown(
        self,
        basic: Server,
        digest: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        directory = docker_config(tmp_path / "wrong", basic.host, password="letmein-4711")
        monkeypatch.setenv("DOCKER_CONFIG", str(directory))
        assert _pull(basic.host, digest, tmp_path / "out") == 1
        error = capsys.readouterr().err
        assert "credentials used:" in error
        assert "letmein-4711" not in error


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("ftp://host.example/app", "'ftp' is neither http nor https"),
        ("host.example/App", "must be lower-case"),
    ],
)
def test_an_invalid_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], image: str, message: str
) -> None:
    flags = ["--reference", "sha256:" + "0" * 64, "--layout", str(tmp_path)]
    assert pull.main(["fetch", "--image", image, *flags]) == 1
    assert message in capsys.readouterr().err
