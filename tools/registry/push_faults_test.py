"""Faults between client and registry: either the push arrives whole, or no tag moves and the error
says what happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.image import layouts_for_test as make
from tools.image.layout import read_layout
from tools.registry import push
from tools.registry.proxy_for_test import Fault, Seen, proxying
from tools.registry.registry_for_test import Server

TAR = make.tar_bytes({"noise": random.Random(13).randbytes(3_000_000)})

pytestmark = pytest.mark.usefixtures("_short_waits")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    make.make_layout(tmp_path / "image", layers=[TAR])
    return tmp_path / "image"


def _push(layout: Path, repository: str, *flags: str) -> int:
    return push.main(["--layout", str(layout), "--repository", repository, *flags])


def _first(method: str, fault: Fault, *, path: str = "") -> Callable[[Seen], Fault | None]:
    """The fault, for the first request of a method (and path)."""
    left = [fault]

    def decide(seen: Seen) -> Fault | None:
        if seen.method == method and path in seen.path and left:
            return left.pop()
        return None

    return decide


@pytest.mark.parametrize(
    ("name", "decide"),
    [
        ("reset-in-upload", _first("PATCH", Fault(reset_after=1_000_000))),
        ("reset-at-once", _first("PATCH", Fault(reset_after=0))),
        ("answer-lost", _first("PATCH", Fault(reset_after=1 << 40))),
        ("commit-answer-lost", _first("PUT", Fault(reset_after=1 << 40), path="/blobs/")),
        ("manifest-answer-lost", _first("PUT", Fault(reset_after=1 << 40), path="/manifests/")),
        ("unavailable", _first("POST", Fault(status=503))),
        ("error-in-upload", _first("PATCH", Fault(status=500))),
        ("error-in-commit", _first("PUT", Fault(status=502), path="/blobs/")),
        ("error-in-head", _first("HEAD", Fault(status=504))),
        ("error-in-manifest", _first("PUT", Fault(status=500), path="/manifests/")),
        ("error-in-tag", _first("PUT", Fault(status=500), path="/manifests/tag")),
        ("error-at-the-start", _first("GET", Fault(status=500))),
        ("tag-answer-lost", _first("PUT", Fault(reset_after=1 << 40), path="/manifests/tag")),
        ("slow-answer-to-upload", _first("PATCH", Fault(answer_delay=1.5))),
        ("slow-answer-to-commit", _first("PUT", Fault(answer_delay=1.5), path="/blobs/")),
        ("slow-answer-to-manifest", _first("PUT", Fault(answer_delay=1.5), path="/manifests/")),
        ("slow-answer-to-head", _first("HEAD", Fault(answer_delay=1.5))),
    ],
)
def test_a_push_recovers_from_one_fault(
    server: Server, layout: Path, name: str, decide: Callable[[Seen], Fault | None]
) -> None:
    with proxying(server.port, decide) as proxy:
        assert _push(layout, f"{proxy.host}/{name}", "--tag=tag", "--timeout=1") == 0
    server.assert_holds(name, layout, tag="tag")


@pytest.mark.parametrize("method", ["PATCH", "HEAD"])
def test_retry_after_is_obeyed(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    fault = Fault(status=429, headers={"Retry-After": "2"})
    name = f"limited-{method.lower()}"
    started = time.monotonic()
    with proxying(server.port, _first(method, fault)) as proxy:
        assert _push(layout, f"{proxy.host}/{name}") == 0
    assert time.monotonic() - started >= 2
    assert "in 2.0 s" in capsys.readouterr().err


def test_a_wait_that_is_too_long_is_an_error(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = Fault(status=429, headers={"Retry-After": "4000"})
    with proxying(server.port, _first("POST", fault)) as proxy:
        assert _push(layout, f"{proxy.host}/patience") == 1
    assert "asks to wait 4000 s, longer than 300 s" in capsys.readouterr().err


def test_a_chunked_upload_resumes(server: Server, layout: Path) -> None:
    def decide(seen: Seen) -> Fault | None:
        return Fault(status=503) if seen.method == "PATCH" and seen.count == 5 else None

    with proxying(server.port, decide) as proxy:
        flags = ["--chunk-size=500000", "--jobs=1"]
        assert _push(layout, f"{proxy.host}/resumed", *flags) == 0
    # One upload for the layer and one for the config: the layer was not started anew.
    assert proxy.methods().count("POST") == 2
    server.assert_holds("resumed", layout)


@pytest.mark.parametrize("chunk", [[], ["--chunk-size=2000000"]])
def test_an_interrupted_chunk_resumes_at_the_registrys_offset(
    server: Server, layout: Path, chunk: list[str]
) -> None:
    kept = 1_234_567
    name = f"cut{len(chunk)}"
    with proxying(server.port, _first("PATCH", Fault(keep=kept))) as proxy:
        assert _push(layout, f"{proxy.host}/{name}", *chunk) == 0
    server.assert_holds(name, layout)
    pieces = [seen for seen in proxy.seen if seen.method == "PATCH"]
    size = read_layout(layout).layers[0].size
    # What was kept is not sent again.
    assert sum(seen.length for seen in pieces[1:]) == size - kept
    if chunk:
        assert pieces[1].content_range == f"{kept}-{kept + 2_000_000 - 1}" or (
            pieces[1].content_range == f"{kept}-{size - 1}"
        )


def test_the_registrys_minimum_chunk_size_is_obeyed(server: Server, layout: Path) -> None:
    def decide(seen: Seen) -> Fault | None:
        return Fault(extra_headers={"OCI-Chunk-Min-Length": "1500000"})

    with proxying(server.port, decide) as proxy:
        assert _push(layout, f"{proxy.host}/least", "--chunk-size=300000") == 0
    server.assert_holds("least", layout)
    lengths = [seen.length for seen in proxy.seen if seen.method == "PATCH"]
    assert lengths[0] == 1_500_000


def test_a_blob_that_vanished_after_the_check_is_uploaded_again(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def decide(seen: Seen) -> Fault | None:
        return Fault(status=200) if seen.method == "HEAD" else None

    with proxying(server.port, decide) as proxy:
        assert _push(layout, f"{proxy.host}/vanished", "--tag=t") == 0
    assert "the registry lacks a blob that it reported before" in capsys.readouterr().err
    server.assert_holds("vanished", layout, tag="t")


def test_a_blob_that_is_deleted_before_the_manifest_is_stored_is_uploaded_again(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = read_layout(layout).layers[0].digest
    name = "deleted"
    assert _push(layout, f"{server.host}/{name}") == 0
    deleted: list[int] = []

    def decide(seen: Seen) -> Fault | None:
        if seen.method == "PUT" and "/manifests/" in seen.path and not deleted:
            status, _, _ = server.request("DELETE", f"/v2/{name}/blobs/{layer}")
            deleted.append(status)
        return None

    with proxying(server.port, decide) as proxy:
        assert _push(layout, f"{proxy.host}/{name}", "--tag=t") == 0
    assert deleted == [202]
    assert "the registry lacks a blob that it reported before" in capsys.readouterr().err
    server.assert_holds(name, layout, tag="t")


def test_a_tag_whose_response_is_lost_is_verified(server: Server, layout: Path) -> None:
    def decide(seen: Seen) -> Fault | None:
        lost = seen.method == "PUT" and seen.path.endswith("/manifests/t")
        return Fault(reset_after=1 << 40) if lost else None

    with proxying(server.port, decide) as proxy:
        assert _push(layout, f"{proxy.host}/lost-tag", "--tag=t", "--retries=0") == 0
    server.assert_holds("lost-tag", layout, tag="t")


def test_unknown_tag_state_is_reported(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def decide(seen: Seen) -> Fault | None:
        return Fault(reset_after=0) if seen.path.endswith("/manifests/t") else None

    with proxying(server.port, decide) as proxy:
        assert _push(layout, f"{proxy.host}/no-tag", "--tag=t", "--retries=0") == 1
    assert "; tag 't' may or may not have been moved\n" in capsys.readouterr().err
    server.assert_holds("no-tag", layout)
    assert server.manifest("no-tag", "t") is None


def _always(
    method: str, status: int, body: bytes = b"", path: str = ""
) -> Callable[[Seen], Fault | None]:
    def decide(seen: Seen) -> Fault | None:
        hit = seen.method == method and path in seen.path
        return Fault(status=status, body=body) if hit else None

    return decide


@pytest.mark.parametrize(
    ("decide", "message"),
    [
        (_always("PATCH", 500), "500 Internal Server Error"),
        (_always("PUT", 503, path="/blobs/"), "PUT blob sha256:"),
        (_always("PUT", 500, path="/manifests/sha256"), "PUT manifest sha256:"),
        (
            _always("POST", 403, b'{"errors":[{"code":"DENIED","message":"quota"}]}'),
            "403 Forbidden (DENIED: quota); no credentials were found for this host",
        ),
        (_always("HEAD", 400), "HEAD blob sha256:"),
        (
            lambda seen: Fault(reset_after=100_000) if seen.method == "PATCH" else None,
            "connection failed",
        ),
        (
            lambda seen: Fault(answer_delay=1.5) if seen.method == "PATCH" else None,
            "timed out",
        ),
        (_always("PUT", 429, path="/manifests/sha256"), "429 Too Many Requests"),
    ],
)
def test_a_persistent_fault_is_an_error_and_moves_no_tag(
    server: Server,
    layout: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    decide: Callable[[Seen], Fault | None],
    message: str,
) -> None:
    make.make_layout(tmp_path / "old", layers=[])
    name = f"lasting/{make.digest_of(message.encode())[7:]}"
    assert _push(tmp_path / "old", f"{server.host}/{name}", "--tag=t") == 0
    before = server.manifest(name, "t")
    with proxying(server.port, decide) as proxy:
        assert _push(layout, f"{proxy.host}/{name}", "--tag=t", "--retries=1", "--timeout=1") == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 1  # Only the first push said what it had pushed.
    last = err.strip().splitlines()[-1]
    assert last.startswith("push: ")
    assert message in last
    assert before is not None
    assert server.manifest(name, "t") == before


def test_an_error_in_the_second_tag_names_the_first(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decide = _always("PUT", 400, path="/manifests/second")
    with proxying(server.port, decide) as proxy:
        assert _push(layout, f"{proxy.host}/tags", "--tag=first", "--tag=second") == 1
    error = capsys.readouterr().err
    assert "PUT manifest second: 400 Bad Request; these tags were already moved: first" in error
    assert server.manifest("tags", "second") is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_push_leaves_no_tag_and_says_so(
    server: Server, layout: Path, number: signal.Signals
) -> None:
    uploading = threading.Event()

    def decide(seen: Seen) -> Fault | None:
        if seen.method != "PATCH":
            return None
        uploading.set()
        return Fault(delay=0.2)

    name = f"interrupted-{number.name.lower()}"
    program = "import sys; from tools.registry import push; sys.exit(push.main())"
    with proxying(server.port, decide) as proxy:
        flags = ["--layout", str(layout), "-r", f"{proxy.host}/{name}", "-t", "t"]
        process = subprocess.Popen(
            [sys.executable, "-c", program, *flags],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert uploading.wait(timeout=30)
        time.sleep(0.3)
        process.send_signal(number)
        # It does not wait for the answer to what it was sending.
        _, error = process.communicate(timeout=5)
    assert process.returncode == 130
    assert error.endswith("push: interrupted; no tag was moved\n")
    assert server.manifest(name, "t") is None
    assert server.manifest(name, read_layout(layout).digest) is None


def test_an_unreachable_registry_is_an_error(
    layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _push(layout, "127.0.0.1:1/x", "--retries=0") == 1
    assert "push: 127.0.0.1:1: connection failed: [Errno 111]" in capsys.readouterr().err


def test_a_registry_that_stores_other_bytes_is_detected(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = "sha256:" + "0" * 64

    def decide(seen: Seen) -> Fault | None:
        if seen.method == "PUT" and "/manifests/" in seen.path:
            return Fault(status=201, headers={"Docker-Content-Digest": wrong})
        return None

    with proxying(server.port, decide) as proxy:
        assert _push(layout, f"{proxy.host}/liar") == 1
    assert f"push: the registry stored {wrong} where sha256:" in capsys.readouterr().err


def test_a_layer_that_is_not_what_its_digest_says_is_refused(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = read_layout(layout).layers[0]
    data = bytearray(layer.path.read_bytes())
    data[1000] ^= 1
    layer.path.write_bytes(data)
    assert _push(layout, f"{server.host}/corrupt", "--tag=t", "--retries=1") == 1
    error = capsys.readouterr().err
    assert f"PUT blob {layer.digest}: 400 Bad Request (DIGEST_INVALID: " in error
    assert server.manifest("corrupt", "t") is None
