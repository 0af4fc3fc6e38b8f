"""Which layers belong together, and how one content is compressed differently."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path

import pytest

from tools.archive.compress import Compressor
from tools.archive.tar_stream import LayerError
from tools.image.layout import Image, Layer
from tools.verify.layers import align, check_content, compression_difference

_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def image(*layers: str) -> Image:
    """An image of layers written as `name=content`."""
    pairs = [text.partition("=")[::2] for text in layers]
    return Image(
        digest="",
        media_type="",
        manifest={},
        config={"history": [{"created_by": f"bazel build //:{name}_layer"} for name, _ in pairs]},
        layers=tuple(Layer(content, 1, _GZIP, content, Path()) for _, content in pairs),
    )


@pytest.mark.parametrize(
    ("old", "new", "pairs"),
    [
        (["a=1", "b=2"], ["a=1", "b=3"], [("b", "b")]),
        (["a=1", "b=2"], ["b=3", "a=4"], [("b", "b"), ("a", "a")]),
        (["a=1"], ["a=1", "b=2"], [(None, "b")]),
        (["a=1", "x=9", "b=2"], ["a=1", "b=3"], [("b", "b"), ("x", None)]),
        # Of layers that no name pairs, the first goes with the first.
        (["a=1", "b=2"], ["c=3", "d=4", "e=5"], [("a", "c"), ("b", "d"), (None, "e")]),
    ],
)
def test_layers_are_paired_by_content_then_name_then_place(
    old: list[str], new: list[str], pairs: list[tuple[str | None, str | None]]
) -> None:
    found = align(image(*old), image(*new))
    assert [
        tuple(place.name if place else None for place in (pair.old, pair.new))
        for pair in found.pairs
    ] == pairs
    assert found.reordered == ()


def test_equal_layers_in_another_order_are_listed() -> None:
    found = align(image("a=1", "b=2", "c=3"), image("a=1", "c=3", "b=2"))
    moves = [tuple(map(str, pair)) for pair in found.reordered]
    assert moves == [("layer 2 (b)", "layer 3 (b)"), ("layer 3 (c)", "layer 2 (c)")]
    # One that came in between moves none of the others.
    assert align(image("a=1", "b=2"), image("a=1", "x=9", "b=2")).reordered == ()


CONTENT = bytes(10_240) * 300


def packed(folder: Path, name: str, data: bytes) -> Layer:
    path = folder / name
    path.write_bytes(data)
    diff_id = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    return Layer(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data), _GZIP, diff_id, path)


def ours(*, method: str = "gzip", level: int | None = None) -> bytes:
    buffer = io.BytesIO()
    with Compressor(buffer, method=method, level=level) as stream:
        stream.write(CONTENT)
    return buffer.getvalue()


def named(name: str, mtime: int) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=buffer, mtime=mtime) as stream:
        stream.write(CONTENT)
    return buffer.getvalue()


WHOLE = gzip.compress(CONTENT, mtime=0)
UNIX = WHOLE[:9] + b"\x03" + WHOLE[10:]


@pytest.mark.parametrize(
    ("old", "new", "how"),
    [
        (ours(level=1), ours(), "gzip level, "),
        (
            gzip.compress(CONTENT, mtime=5),
            gzip.compress(CONTENT, mtime=0),
            "gzip header, time 5 → 0, ",
        ),
        (named("a.tar", 0), named("b.tar", 0), "gzip header, name 'a.tar' → 'b.tar', "),
        (WHOLE[:9] + b"\xff" + WHOLE[10:], ours(), "gzip members 1 → 3, "),
        (UNIX, ours(), "gzip header, operating system 3 → 255, "),
        (ours(method="zstd", level=1), ours(method="zstd"), "zstd level, "),
        (ours(method="none"), ours(), "none → gzip, 3072000 → "),
    ],
)
def test_what_differs_in_the_compression_is_named(
    tmp_path: Path, old: bytes, new: bytes, how: str
) -> None:
    one, other = packed(tmp_path, "old", old), packed(tmp_path, "new", new)
    check_content(one)
    assert compression_difference(one, other).startswith(how)


def test_a_content_that_only_claims_to_be_the_same_is_refused(tmp_path: Path) -> None:
    layer = packed(tmp_path, "layer", gzip.compress(CONTENT + b"\0" * 512))
    with pytest.raises(LayerError, match="engines will refuse the image"):
        check_content(layer)
