"""Pushing to a real registry: what arrives, what is skipped, what is said."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import random
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tools.image import layouts_for_test as make
from tools.image.layout import open_layout, read_children, read_layout
from tools.oci import index
from tools.registry import push
from tools.registry.proxy_for_test import Fault, proxying
from tools.registry.registry_for_test import Server

_RANDOM = random.Random(11)
TARS = [make.tar_bytes({"noise": _RANDOM.randbytes(size)}) for size in (300_000, 2_000_000)]
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    make.make_layout(tmp_path / "image", layers=TARS)
    return tmp_path / "image"


def _push(layout: Path, repository: str, *flags: str) -> int:
    return push.main(["--layout", str(layout), "--repository", repository, *flags])


@pytest.mark.parametrize("media_type", [make.OCI_MANIFEST, DOCKER])
def test_an_image_pulls_back_byte_identical(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], media_type: str
) -> None:
    layout, refs = tmp_path / "image", tmp_path / "refs"
    digest = make.make_layout(layout, layers=TARS, media_type=media_type)
    name = "plain/" + ("docker" if media_type == DOCKER else "oci")
    flags = ["--tag=one", "-t", "two", f"--image-refs={refs}"]
    assert _push(layout, f"{server.host}/{name}", *flags) == 0
    server.assert_holds(name, layout)
    for tag in ("one", "two"):
        status, headers, body = server.get(f"/v2/{name}/manifests/{tag}")
        assert (status, make.digest_of(body)) == (200, digest)
        assert headers["content-type"] == media_type
    out, err = capsys.readouterr()
    assert out == f"{server.host}/{name}@{digest}\n"
    assert refs.read_text() == out
    assert err.count(": uploaded ") == 3
    assert re.search(r"^layer 2/2 sha256:\w{12}: uploaded 2\.0 MB in ", err, flags=re.MULTILINE)


def test_a_terminal_shows_the_layer_and_the_rate(server: Server, tmp_path: Path) -> None:
    # More than the buffers between here and the registry hold.
    layout = tmp_path / "image"
    make.make_layout(layout, layers=[TARS[0], make.tar_bytes({"x": _RANDOM.randbytes(16_000_000)})])
    program = "import sys; from tools.registry import push; sys.exit(push.main())"
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with proxying(server.port, lambda _: Fault(delay=0.01)) as proxy:
        process = subprocess.Popen(
            [sys.executable, "-c", program, f"--layout={layout}", f"-r={proxy.host}/tty", "-t=t"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=follower,
        )
        os.close(follower)
        shown = b""
        # Reading a terminal whose other side is closed is an error on Linux.
        with contextlib.suppress(OSError):
            while block := os.read(leader, 1 << 16):
                shown += block
        os.close(leader)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.decode().strip().endswith(read_layout(layout).digest)
    drawn = shown.decode().split("\r\x1b[K")
    moving = re.compile(
        r"\d/3 blobs, [\d.]+ [kM]?B of 16\.3 MB, [\d.]+ [kM]?B/s: (layer [12]/2|config) \d+%.*"
    )
    lines = [line for line in drawn if moving.fullmatch(line)]
    assert len(lines) >= 5
    assert max(map(len, lines)) < 100
    percents = [int(each) for line in lines for each in re.findall(r"layer 2/2 (\d+)%", line)]
    assert percents == sorted(percents)
    assert len(set(percents)) >= 4
    # What stays on the screen are whole lines; the changing one is gone.
    kept = [line for line in drawn if line.endswith("\n")]
    assert re.search(r"layer 2/2 sha256:\w{12}: uploaded 16\.0 MB in \d+\.\d s, ", "".join(kept))
    assert shown.endswith(b"\r\x1b[K")


def test_a_second_push_uploads_nothing(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _push(layout, f"{server.host}/twice") == 0
    capsys.readouterr()
    with proxying(server.port, lambda _: None) as proxy:
        assert _push(layout, f"{proxy.host}/twice", "--tag=t") == 0
    assert {"POST", "PATCH"}.isdisjoint(proxy.methods())
    assert capsys.readouterr().err.count(": already in the registry") == 3


def test_the_digest_is_stored_before_any_tag(server: Server, layout: Path) -> None:
    with proxying(server.port, lambda _: None) as proxy:
        assert _push(layout, f"{proxy.host}/order", "--tag=a", "--tag=b") == 0
    last = [seen.path for seen in proxy.seen if "/manifests/" in seen.path]
    digest = read_layout(layout).digest
    assert [path.rpartition("/")[2] for path in last] == [digest, "a", "b"]
    blobs = [place for place, seen in enumerate(proxy.seen) if "/blobs/" in seen.path]
    assert max(blobs) < len(proxy.seen) - 3


def _index(tmp_path: Path) -> Path:
    images = []
    for architecture, tar in (("amd64", TARS[0]), ("arm64", TARS[1])):
        config = {"architecture": architecture}
        make.make_layout(tmp_path / architecture, layers=[tar], config_extra=config)
        images += ["--image", str(tmp_path / architecture)]
    out = ["--output", str(tmp_path / "all"), "--digest-output", str(tmp_path / "digest")]
    assert index.main([*images, *out, "--label", "//x:y"]) == 0
    return tmp_path / "all"


def test_an_index_is_pushed_after_its_children(server: Server, tmp_path: Path) -> None:
    path = _index(tmp_path)
    with proxying(server.port, lambda _: None) as proxy:
        assert _push(path, f"{proxy.host}/multi", "--tag=all") == 0
    layout = open_layout(path)
    children = read_children(layout, layout.root)
    stored = [seen.path.rpartition("/")[2] for seen in proxy.seen if "/manifests/" in seen.path]
    assert stored == [*(child.digest for child in children), layout.root.digest, "all"]
    for architecture in ("amd64", "arm64"):
        server.assert_holds("multi", tmp_path / architecture)
    tagged = server.manifest("multi", "all")
    assert tagged == layout.blob(layout.root.digest).read_bytes()


def test_an_index_with_an_attestation_is_pushed_as_it_is(server: Server, tmp_path: Path) -> None:
    """The layout of `docker buildx`: an image, and an attestation of it."""
    make.make_layout(tmp_path, layers=[TARS[0]])
    image = {
        **make.root_entry(tmp_path),
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    attestation = {
        **make.make_artifact(tmp_path),
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        "platform": {"os": "unknown", "architecture": "unknown"},
    }
    make.make_index(tmp_path, [image, attestation])
    assert _push(tmp_path, f"{server.host}/carried", "--tag=t") == 0
    for digest in (image["digest"], attestation["digest"], "t"):
        status, _, _ = server.get(f"/v2/carried/manifests/{digest}")
        assert status == 200


def test_one_platform_of_an_index_can_be_pushed(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _index(tmp_path)
    assert _push(path, f"{server.host}/single", "--platform=linux/arm64", "--tag=t") == 0
    assert make.digest_of(server.manifest("single", "t") or b"") == (
        read_layout(tmp_path / "arm64").digest
    )
    capsys.readouterr()
    assert _push(path, f"{server.host}/single", "--platform=linux/s390x") == 1
    error = capsys.readouterr().err
    assert "all: has no image for linux/s390x; it has linux/amd64, linux/arm64" in error


def test_blobs_are_mounted_from_another_repository(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _push(layout, f"{server.host}/source") == 0
    capsys.readouterr()
    with proxying(server.port, lambda _: None) as proxy:
        assert _push(layout, f"{proxy.host}/mounted", "--mount-from=source") == 0
    assert "PATCH" not in proxy.methods()
    assert capsys.readouterr().err.count(": mounted from source") == 3
    server.assert_holds("mounted", layout)


def test_a_dry_run_prints_what_would_be_mounted(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _push(layout, f"{server.host}/dry/source") == 0
    capsys.readouterr()
    flags = ["--dry-run", "--mount-from=not/there", f"--mount-from={server.host}/dry/source"]
    assert _push(layout, f"{server.host}/dry/target", *flags) == 0
    error = capsys.readouterr().err
    assert error.count(": would be mounted from dry/source") == 3
    assert error.endswith("0 B would be uploaded\n")


def test_a_mount_that_fails_is_an_upload(server: Server, layout: Path) -> None:
    assert _push(layout, f"{server.host}/nomount", "--mount-from=nobody/has/this") == 0
    server.assert_holds("nomount", layout)


def test_uploads_can_be_chunked(server: Server, layout: Path) -> None:
    with proxying(server.port, lambda _: None) as proxy:
        assert _push(layout, f"{proxy.host}/pieces", "--chunk-size=262144") == 0
    lengths = [seen.length for seen in proxy.seen if seen.method == "PATCH"]
    assert max(lengths) == 262144
    assert len(lengths) >= 9
    server.assert_holds("pieces", layout)


def test_a_dry_run_prints_its_plan_and_changes_nothing(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with proxying(server.port, lambda _: None) as proxy:
        assert _push(layout, f"{proxy.host}/dry", "--dry-run", "--tag=t") == 0
        assert set(proxy.methods()) <= {"GET", "HEAD"}
        error = capsys.readouterr().err
        assert f"credentials for {proxy.host}: none found" in error
        assert error.count("would be uploaded") == 4
        assert f"{proxy.host}/dry:t: would point to the last manifest" in error
    assert server.manifest("dry", "t") is None


def test_foreign_layers_are_left_out_unless_asked_for(server: Server, tmp_path: Path) -> None:
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    layout = tmp_path / "foreign"
    make.make_layout(layout, layers=[TARS[0]], layer_type=foreign)
    layer = read_layout(layout).layers[0].digest
    with proxying(server.port, lambda _: None) as proxy:
        _push(layout, f"{proxy.host}/foreign")
        assert not [seen for seen in proxy.seen if layer in seen.path]
        flag = "--allow-nondistributable-artifacts"
        assert _push(layout, f"{proxy.host}/foreign", flag) == 0
    assert server.blob("foreign", layer) is not None


def test_flags_are_joined_with_the_target(server: Server, layout: Path, tmp_path: Path) -> None:
    target = {
        "layout": "image",
        "repository": "unused.example/x",
        "repository_file": "repository.txt",
        "remote_tags": "tags.txt",
    }
    (tmp_path / "repository.txt").write_text(f"{server.host}/from-file\n")
    (tmp_path / "tags.txt").write_text("one\ntwo\n")
    flags = ["--runfiles", str(tmp_path), "--target", "target.json"]
    for repository, pushed in (("", "from-file"), (f"{server.host}/from-attribute", None)):
        (tmp_path / "target.json").write_text(json.dumps({**target, "repository": repository}))
        assert push.main([*flags, "--tag=three"]) == 0
        name = pushed or "from-attribute"
        assert all(server.manifest(name, tag) for tag in ("one", "two", "three"))
    assert push.main([*flags, f"--repository={server.host}/from-flag"]) == 0
    assert server.manifest("from-flag", "one") is not None
    assert server.manifest("from-flag", "three") is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "push: no repository to push to; pass --repository, or set the attribute\n"),
        (["-r", "h.example/a:t"], "push: repository 'h.example/a:t' must not have a tag"),
        (["-r", "h.example/a@sha256:0"], "must not have a digest"),
        (["-r", "h.example/UPPER"], "'UPPER' must be lower-case"),
        (["-r", "h.example/a", "--mount-from=b:t"], "must not have a tag"),
        (["-r", "h.example/a", "--tag=-x"], "push: tag '-x' must be 1 to 128"),
    ],
)
def test_an_invalid_push_is_refused_before_any_request(
    layout: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert push.main(["--layout", str(layout), *flags]) == 1
    assert message in capsys.readouterr().err
