"""Sizes on layers made in the test, reasons on small locks, and the page a browser will get."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tools.apt.intent import Group, Intent
from tools.apt.lockfile import LockedPackage
from tools.cli import ToolError
from tools.elf.elf_for_test import build
from tools.elf.elf_for_test import linker as linker_bytes
from tools.image.images_for_test import Member, directory, link, tar_bytes, write_image
from tools.image.layout import Image, Layer
from tools.size import check as size_check
from tools.size.layer_sizes import LayerSizes, layer_names, measure
from tools.size.owners import Kind
from tools.size.page import page
from tools.size.reasons import Why, debian_reasons, python_reasons, requested
from tools.size.report import encode, main
from tools.size.text import megabytes, text
from tools.wheels.lockfile import LockedWheel

NOISE = b"".join(hashlib.sha256(bytes([i, j])).digest() for i in range(40) for j in range(40))
ZEROS = bytes(300_000)
MEMBERS = [
    directory("usr"),
    Member("usr/noise", NOISE),
    Member("usr/zeros", ZEROS),
    link("usr/link", "noise"),
    Member("usr/hard", kind=tarfile.LNKTYPE, link="usr/noise"),
    Member("usr/" + "long" * 60, b"a name that takes a header of its own"),
    Member("usr/empty"),
]


def layer(folder: Path, blob: bytes, compression: str) -> Layer:
    path = folder / "layer"
    path.write_bytes(blob)
    suffix = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}[compression]
    return Layer(
        digest="sha256:" + hashlib.sha256(blob).hexdigest(),
        size=len(blob),
        media_type=f"application/vnd.oci.image.layer.v1.tar{suffix}",
        diff_id="",
        path=path,
    )


def packed(plain: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(plain, mtime=0)
    return zstandard.ZstdCompressor().compress(plain) if compression == "zstd" else plain


def add_up(sizes: LayerSizes, plain: bytes, blob: bytes) -> None:
    raw, stored = sizes.overhead
    assert sum(member.raw for member in sizes.members) + raw == sizes.raw == len(plain)
    assert sum(member.stored for member in sizes.members) + stored == sizes.stored == len(blob)
    assert min(member.stored for member in sizes.members) >= 0


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_every_byte_of_a_layer_is_counted_once(tmp_path: Path, compression: str) -> None:
    plain = tar_bytes(MEMBERS)
    blob = packed(plain, compression)
    sizes = measure(layer(tmp_path, blob, compression))
    add_up(sizes, plain, blob)
    assert [member.path for member in sizes.members] == [f"/{each.name}" for each in MEMBERS]
    assert [member.size for member in sizes.members] == [0, len(NOISE), len(ZEROS), 0, 0, 37, 0]
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        starts = [info.offset for info in archive]
    ends = [*starts[1:], starts[-1] + 512]
    assert [m.raw for m in sizes.members] == [b - a for a, b in zip(starts, ends, strict=True)]


def test_of_a_gzip_layer_each_member_has_what_inflating_it_takes(tmp_path: Path) -> None:
    blob = packed(tar_bytes(MEMBERS), "gzip")
    stored = {m.path: m.stored for m in measure(layer(tmp_path, blob, "gzip")).members}
    # Noise cannot be compressed, zeros can; tables and matches blur the border a little.
    assert len(NOISE) <= stored["/usr/noise"] <= len(NOISE) + 1000
    assert stored["/usr/zeros"] < 1000


def test_layers_are_named_after_the_targets_that_made_them() -> None:
    made = [{"created_by": "bazel build //app:web_wheels_layer"}, {"empty_layer": True}, {}]
    layers = tuple(
        Layer(digest="", size=0, media_type="", diff_id="", path=Path()) for _ in range(2)
    )
    image = Image(digest="", media_type="", manifest={}, config={"history": made}, layers=layers)
    assert layer_names(image) == ["web wheels", "layer 2"]
    assert layer_names(replace(image, config={})) == ["layer 1", "layer 2"]


def test_a_layer_of_several_gzip_members_and_an_empty_one_are_counted(tmp_path: Path) -> None:
    plain = tar_bytes(MEMBERS)
    blob = gzip.compress(plain[:40_000], mtime=0) + gzip.compress(plain[40_000:], mtime=0)
    add_up(measure(layer(tmp_path, blob, "gzip")), plain, blob)
    empty = tar_bytes([])
    sizes = measure(layer(tmp_path, gzip.compress(empty, mtime=0), "gzip"))
    assert (sizes.members, sizes.overhead[0]) == ((), len(empty))


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_an_empty_file_is_a_layer_without_members(tmp_path: Path, compression: str) -> None:
    blob = packed(b"", compression)
    assert measure(layer(tmp_path, blob, compression)) == LayerSizes(0, len(blob), ())


def test_a_layer_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    blob = packed(tar_bytes(MEMBERS), "gzip")
    with pytest.raises(ToolError, match=r"layer sha256:.*: gzip data ends before its end mark"):
        measure(layer(tmp_path, blob[:2000], "gzip"))


# Reasons.


def locked(name: str, *depends: str) -> LockedPackage:
    filename = f"pool/{name}_1_amd64.deb"
    return LockedPackage(name, "amd64", "1", "debian", filename, 1, "0" * 64, name, depends)


def test_the_shortest_chain_leads_from_a_request_to_each_package() -> None:
    packages = {
        each.name: each
        for each in (
            locked("ffmpeg", "libavcodec", "libc6"),
            locked("libavcodec", "libx264", "libc6"),
            locked("libx264", "libc6"),
            locked("libc6"),
            locked("busybox", "libc6"),
            locked("stray"),
        )
    }
    groups = (Group("media", {"ffmpeg": "video", "gone": "x"}, {}),)
    tools = (Group("busybox", {"busybox": "a variant's", "libc6": "not this"}, {}),)
    intent = Intent((), ("amd64",), 0, groups, tools, {}, (), "")
    assert debian_reasons(intent, packages) == {
        "ffmpeg": Why(("ffmpeg",), "video"),
        "libavcodec": Why(("ffmpeg", "libavcodec"), "video"),
        "libx264": Why(("ffmpeg", "libavcodec", "libx264"), "video"),
        "libc6": Why(("ffmpeg", "libc6"), "video"),
        "busybox": Why(("busybox",), "a variant's"),
    }


REQUIREMENTS = """\
# The first comment is about the file.

celery[redis]           # task queue; the extra keeps redis
async-timeout           # redis needs it
                        # below Python 3.11.3
Typing_Extensions>=4
"""


def test_the_comments_of_requirements_are_the_reasons() -> None:
    assert requested(REQUIREMENTS) == {
        "celery": "task queue; the extra keeps redis",
        "async-timeout": "redis needs it below Python 3.11.3",
        "typing-extensions": "",
    }
    wheels = (
        LockedWheel("celery", "5", (), "", "", ("requirements.in",)),
        LockedWheel("kombu", "5", (), "", "", ("celery",)),
        LockedWheel("amqp", "5", (), "", "", ("kombu",)),
    )
    assert python_reasons(REQUIREMENTS, wheels)["amqp"] == Why(
        ("celery", "kombu", "amqp"), "task queue; the extra keeps redis"
    )


# The whole report, of an image with one package, one wheel and one file of its own.

STATUS = "var/lib/dpkg/status.d"
SUMS = "var/lib/dpkg/info"
PACKAGES = "usr/local/lib/python3.11/dist-packages"


def stanza(name: str) -> bytes:
    return (
        f"Package: {name}\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n".encode()
    )


def sums(*files: tuple[str, bytes]) -> bytes:
    lines = (f"{hashlib.md5(d, usedforsecurity=False).hexdigest()}  {n}\n" for n, d in files)
    return "".join(lines).encode()


def inputs(folder: Path) -> list[str]:
    app = build(needed=["libx.so"], interpreter="/lib64/ld-linux-x86-64.so.2", filler=NOISE)
    library = build("libx.so", exports=[("f", "")])
    base = [
        directory("usr"),
        directory("usr/lib"),
        link("lib64", "usr/lib"),
        link("lib", "usr/lib"),
        Member("usr/lib/ld-linux-x86-64.so.2", linker_bytes(), mode=0o755),
        Member("usr/lib/libx.so", library),
        Member("usr/bin/app", app, mode=0o755),
        Member(f"{STATUS}/app", stanza("app")),
        Member(f"{SUMS}/app.md5sums", sums(("usr/bin/app", app))),
        link(f"{STATUS}/app.md5sums", "../info/app.md5sums"),
        Member(f"{STATUS}/libx", stanza("libx")),
        Member(
            f"{SUMS}/libx.md5sums",
            sums(("usr/lib/libx.so", library), ("usr/lib/ld-linux-x86-64.so.2", linker_bytes())),
        ),
        link(f"{STATUS}/libx.md5sums", "../info/libx.md5sums"),
    ]
    info = f"{PACKAGES}/six-1.dist-info"
    wheel = [
        Member(f"{PACKAGES}/six.py", b"six = 6\n"),
        Member(f"{info}/METADATA", b"Name: six\nVersion: 1\n"),
        Member(f"{info}/WHEEL", b"Tag: py3-none-any\n"),
        Member(
            f"{info}/RECORD",
            b"six.py,,\nsix-1.dist-info/METADATA,,\nsix-1.dist-info/WHEEL,,\n"
            b"six-1.dist-info/RECORD,,\n",
        ),
        Member("app/main.py", b"</script><script>alert(1)</script>"),
    ]
    folder.mkdir(exist_ok=True)
    write_image(folder / "image", [base, wheel], {}, architecture="amd64")
    packages = [vars(locked("app", "libx")), vars(locked("libx"))]
    lock = {
        "version": 1, "snapshot": "", "mtime": 0, "intent_sha256": "", "image_groups": ["base"],
        "groups": {"base": {"amd64": ["app", "libx"]}}, "packages": packages,
        "excluded_packages": {}, "excluded_versions": {}, "excluded_paths": [],
    }  # fmt: skip
    (folder / "debian.json").write_text(json.dumps(lock))
    (folder / "debian.yaml").write_text(
        "suites: [{archive: debian, suite: bookworm, component: main}]\narchitectures: [amd64]\n"
        "timestamp: 2020-01-02T00:00:00Z\n"
        "image: {base: {packages: {app: does <the> work}}}\nexclude_packages: {x: y}\n"
        "exclude_paths: [{reason: none, globs: [x]}]\ntools: {}\n"
    )
    (folder / "python.txt").write_text(
        "# wheel: six-1-py3-none-any.whl\n# via: requirements.in\n"
        f"six==1 \\\n    --hash=sha256:{'0' * 64}\n"
    )
    (folder / "requirements.in").write_text("six  # counts to six\n")
    (folder / "allowlist.yaml").write_text("files:\n  /app/**: the application\n")
    baseline = {"name": "another", "raw": 10**7, "compressed": 10**6, "files": 9, "packages": 3}
    (folder / "baseline.json").write_text(json.dumps(baseline))
    return flags(folder)


def flags(folder: Path) -> list[str]:
    return [
        f"--image={folder}/image",
        f"--debian-lock={folder}/debian.json",
        f"--debian-intent={folder}/debian.yaml",
        f"--python-lock={folder}/python.txt",
        f"--python-intent={folder}/requirements.in",
    ]


def reported(folder: Path) -> dict[str, Any]:
    more = [f"--allowlist={folder}/allowlist.yaml", f"--baseline={folder}/baseline.json"]
    layers = ["--layer=base", "--layer=application"]
    assert main([*inputs(folder), *more, *layers, f"--json={folder}/size.json"]) == 0
    result: dict[str, Any] = json.loads((folder / "size.json").read_text())
    return result


def test_every_package_is_there_with_its_chain_and_its_elf_needs(tmp_path: Path) -> None:
    report = reported(tmp_path)
    owners = {owner["name"]: owner for owner in report["owners"]}
    assert owners["libx"]["why"] == {"chain": ["app", "libx"], "reason": "does <the> work"}
    assert owners["libx"]["elf"] == {
        "path": ["/usr/bin/app", "/usr/lib/libx.so"],
        "needs": [{"object": "/usr/bin/app", "name": "libx.so", "library": "/usr/lib/libx.so"}],
        "count": 1,
    }
    assert owners["six"]["why"] == {"chain": ["six"], "reason": "counts to six"}
    assert owners["application"]["kind"] == Kind.BUILT
    assert report["built"] == {"/app/main.py": "the application"}
    assert report["totals"]["files"] == 12
    assert (report["totals"]["packages"], report["totals"]["wheels"]) == (2, 1)


def test_the_report_holds_against_the_image_and_a_false_one_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = reported(tmp_path)
    arguments = [*flags(tmp_path), f"--report={tmp_path}/size.json"]
    assert size_check.main(arguments) == 0
    assert capsys.readouterr().out.endswith(" 0 errors\n")
    report["entries"][0][4] += 1
    report["entries"][1][2] = "/usr/nowhere"
    report["owners"][0]["why"]["reason"] = "habit"
    (tmp_path / "size.json").write_text(encode(report))
    assert size_check.main(arguments) == 1
    told = capsys.readouterr().out
    assert "base: entries have" in told
    assert "members differ from the archive's: ['/usr/lib', '/usr/nowhere']" in told
    assert "was not asked for because of 'habit'" in told


def test_the_text_tells_totals_layers_and_reasons(tmp_path: Path) -> None:
    told = text({"name": "it", **reported(tmp_path)})
    assert "12 files: 2 Debian packages and 1 wheels in 2 layers" in told
    assert "app → libx: does <the> work" in told
    assert "libx.so is needed by /usr/bin/app" in told
    assert "/app/main.py: the application" in told
    assert "another: 1.0 MB compressed" in told


class Page(HTMLParser):
    """Notes what the browser would fetch, and each script's text."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.scripts: list[str] = []
        self.rows = 0
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script"
        self.scripts += [""] if self._inside else []
        self.rows += tag == "tr"
        self.fetched += [str(v) for k, v in attrs if k in ("src", "href", "action", "data")]

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def test_the_page_needs_nothing_else_and_nothing_in_it_breaks_out(tmp_path: Path) -> None:
    report = {"name": "</script><b>it</b>", **reported(tmp_path)}
    report["built"]["/app/main.py"] = "</script><script>alert(1)</script>"
    content = page(report)
    parsed = Page()
    parsed.feed(content)
    assert parsed.fetched == []
    assert not re.search(r"url\(|@import|https?://", content)
    assert len(parsed.scripts) == 2, "data and program"
    data = json.loads(parsed.scripts[0])
    assert data["built"]["/app/main.py"] == report["built"]["/app/main.py"]
    assert "<b>it</b>" not in content
    # Two tables, with a head each.
    assert parsed.rows == 2 + len(report["layers"]) + len(report["owners"])


def test_the_pages_sums_are_the_layers(tmp_path: Path) -> None:
    report = {"name": "it", **reported(tmp_path)}
    parsed = Page()
    parsed.feed(page(report))
    data = json.loads(parsed.scripts[0])
    for index, row in enumerate(report["layers"]):
        files = [each for each in data["files"] if each[0] == index]
        over = data["layers"][index]["over"]
        assert sum(each[3] for each in files) + over[0] == row["compressed"]
        assert sum(each[4] for each in files) + over[1] == row["raw"]
        assert sum(each[5] for each in files) == row["files"]


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    assert encode(reported(tmp_path / "one")) == encode(reported(tmp_path / "another place"))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (["--layer=only one"], "the image has 2 layers, 1 names are given"),
        (["--baseline={}/python.txt"], "wanted a name and raw, compressed, files, packages"),
        (["--image={}/none"], "an OCI layout directory is needed here"),
    ],
)
def test_unusable_inputs_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], cause: str
) -> None:
    assert main([*inputs(tmp_path), *(each.format(tmp_path) for each in change)]) == 1
    assert cause in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_345_678, "2.3 MB")]
)
def test_bytes_are_reported_as_registries_do(count: int, shown: str) -> None:
    assert megabytes(count) == shown


def test_a_file_that_is_not_a_report_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = inputs(tmp_path)
    path = tmp_path / "size.json"
    for content in ("", "{}", "[]"):
        path.write_text(content)
        assert size_check.main([f"--report={path}", *more]) == 1
        assert f"size_check: {path}: not a size report: " in capsys.readouterr().err
