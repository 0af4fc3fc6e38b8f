"""Twenty differences planted in a real image, each named; and every kind of reference."""

from __future__ import annotations

import functools
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.image.archive import Member, docker_archive, oci_archive, write_archive
from tools.image.layout import blob_path, read_layout
from tools.image.spec import sha256_digest
from tools.oci import index
from tools.oci.layout_writer import document
from tools.registry import pull, push
from tools.registry.proxy_for_test import proxying
from tools.registry.registry_for_test import Server, forget_the_user
from tools.registry.transport import Options
from tools.verify import verify
from tools.verify.service_for_test import (
    LIBRARY,
    LINK,
    MODULE,
    MTIME,
    TOML,
    Blob,
    Images,
    Members,
    build,
    on,
    pack,
    replant,
    setting,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_the_user(monkeypatch, tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(tmp_path))


def run(images: Images, reference: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of the program and what it prints; errors are in there, too."""
    code = verify.main([*images.flags(), str(reference)])
    out, err = capsys.readouterr()
    return code, out + err


def changing(path: str, **fields: Any) -> Callable[[Images, Path], Path]:
    """Plant another value in a header of the lowest layer."""
    return lambda images, out: replant(images.amd64, out, layers={0: setting(path, **fields)})


def configuring(edit: Callable[[dict[str, Any]], object]) -> Callable[[Images, Path], Path]:
    """Plant another value in the config."""
    return lambda images, out: replant(images.amd64, out, edit_config=edit)


def _byte(images: Images, out: Path) -> Path:
    def flip(_: tarfile.TarInfo, data: bytes) -> bytes:
        return data[:200] + b"?" + data[201:]

    return replant(images.amd64, out, layers={0: on(LIBRARY, flip)})


def _without(path: str) -> Callable[[Members], Members]:
    return lambda members: [(info, data) for info, data in members if info.name != path]


def _missing(images: Images, out: Path) -> Path:
    return replant(images.amd64, out, layers={0: _without("usr/bin/tool")})


def _added(images: Images, out: Path) -> Path:
    def add(members: Members) -> Members:
        info = tarfile.TarInfo("usr/bin/backdoor")
        info.mtime, info.mode = MTIME, 0o755
        at = next(n for n, (each, _) in enumerate(members) if each.name == "usr/bin/tool")
        return [*members[:at], (info, b"#!"), *members[at:]]

    return replant(images.amd64, out, layers={0: add})


def _package(_: Images, out: Path) -> Path:
    return build(out, foo="1.0-2").amd64


def _order(images: Images, out: Path) -> Path:
    def swap(members: Members) -> Members:
        at = next(n for n, (each, _) in enumerate(members) if each.name == LINK)
        members[at : at + 2] = reversed(members[at : at + 2])
        return members

    return replant(images.amd64, out, layers={0: swap})


def _level(images: Images, out: Path) -> Path:
    return replant(images.amd64, out, layers={0: lambda members: members}, level=1)


def _layer_order(images: Images, out: Path) -> Path:
    def swap(blobs: list[Blob]) -> list[Blob]:
        return [blobs[0], blobs[2], blobs[1]]

    def history(config: dict[str, Any]) -> None:
        config["history"][1:] = reversed(config["history"][1:])

    return replant(images.amd64, out, edit_layers=swap, edit_config=history)


def _extra_layer(images: Images, out: Path) -> Path:
    info = tarfile.TarInfo("root/.ssh/authorized_keys")

    def add(blobs: list[Blob]) -> list[Blob]:
        return [*blobs, pack([(info, b"ssh-ed25519 AAAA")], lambda members: members, out)]

    return replant(
        images.amd64,
        out,
        edit_layers=add,
        edit_config=lambda config: config["history"].append({"created_by": "RUN mallory"}),
    )


def _wheels_file(images: Images, out: Path) -> Path:
    def edit(_: tarfile.TarInfo, data: bytes) -> bytes:
        return data.replace(b"return 6", b"return 7")

    return replant(images.amd64, out, layers={1: on(MODULE, edit)})


_STANZA = "var/lib/dpkg/status.d/tool"
_RECORD = MODULE.replace("six.py", "six-1.16.0.dist-info/RECORD")
_WHEEL = _RECORD.replace("RECORD", "WHEEL")
XATTR = {"SCHILY.xattr.security.capability": "\x01\x00"}
PLANTED: dict[str, tuple[Callable[[Images, Path], Path], str]] = {
    "mode": (
        changing("usr/bin/tool", mode=0o4755),
        "layer 1 (base): /usr/bin/tool: mode 4755 → 0755 (Debian package tool 2.1-3)",
    ),
    "owner": (
        changing(TOML, uid=1000),
        "layer 1 (base): /etc/tool.toml: owner 1000:0 → 0:0 (Debian package tool 2.1-3)",
    ),
    "time": (
        changing(LIBRARY, mtime=MTIME + 1),
        (
            "layer 1 (base): /usr/lib/libfoo.so.1.0: time 2023-11-14T22:13:21Z → "
            "2023-11-14T22:13:20Z (Debian package libfoo1 1.0-1)"
        ),
    ),
    "a byte": (
        _byte,
        "layer 1 (base): /usr/lib/libfoo.so.1.0: content differs from byte 200 on, line 1:",
    ),
    "a missing file": (
        _missing,
        (
            "layer 1 (base): /usr/bin/tool: is in this checkout only (file, 12 bytes) "
            "(Debian package tool 2.1-3)"
        ),
    ),
    "an added file": (
        _added,
        "layer 1 (base): /usr/bin/backdoor: is in the image only (file, 2 bytes)",
    ),
    "a link's target": (
        changing(LINK, linkname="/tmp/libevil.so"),
        (
            "layer 1 (base): /usr/lib/libfoo.so.1: link target /tmp/libevil.so → libfoo.so.1.0 "
            "(Debian package libfoo1 1.0-1)"
        ),
    ),
    "an extended attribute": (
        changing("usr/bin/tool", pax_headers=XATTR),
        r"layer 1 (base): /usr/bin/tool: extended attribute security.capability '\x01\x00' → none",
    ),
    "a package's version": (
        _package,
        "layer 1 (base): Debian package libfoo1: 1.0-2 → 1.0-1",
    ),
    "the order of files": (
        _order,
        (
            "layer 1 (base): /usr/lib/libfoo.so.1.0: order of members after /usr/lib → "
            "after /usr/lib/libfoo.so.1"
        ),
    ),
    "gzip's level": (_level, "layer 1 (base): compression: gzip level, "),
    "env": (
        configuring(lambda config: config["config"]["Env"].__setitem__(1, "PORT=9000")),
        'config: environment variable PORT: "9000" → "8000"',
    ),
    "user": (
        configuring(lambda config: config["config"].update(User="root")),
        'config: user (User): "root" → "1000:1000"',
    ),
    "cmd": (
        configuring(lambda config: config["config"]["Cmd"].append("--debug")),
        'config: command (Cmd): ["tool", "serve", "--debug"] → ["tool", "serve"]',
    ),
    "healthcheck": (
        configuring(lambda config: config["config"]["Healthcheck"].update(Interval=10**9)),
        "config: healthcheck Interval: 1 s → 30 s",
    ),
    "label": (
        configuring(lambda config: config["config"]["Labels"].pop("org.example.team")),
        'config: label org.example.team: nothing → "video"',
    ),
    "layer order": (
        _layer_order,
        (
            "layers: order of layers: layer 2 (app) → layer 3 (app), layer 3 (wheels) → "
            "layer 2 (wheels)"
        ),
    ),
    "architecture": (
        configuring(lambda config: config.update(architecture="arm64")),
        "config: platform: linux/arm64 → linux/amd64",
    ),
    "an extra layer": (
        _extra_layer,
        (
            "layer 4 (RUN mallory): the whole layer is in the image only, 117 bytes\n"
            "       /root/.ssh/authorized_keys\n"
        ),
    ),
    "a wheel's file": (
        _wheels_file,
        (
            f"layer 2 (wheels): /{MODULE}: content differs "
            "from byte 22 on, line 2: '    return 7' → '    return 6' (Python wheel six 1.16.0)"
        ),
    ),
}
# What cannot be planted alone: the history says which target made each layer.
SECOND = {"layer order", "an extra layer"}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_difference_is_named_first(
    images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    plant, sentence = PLANTED[name]
    code, said = run(images, plant(images, tmp_path / "planted"), capsys)
    assert f"    1. {sentence}" in said
    assert code == verify.DIFFERENT
    assert ("    2. " in said) == (name in SECOND), said
    assert "    3. " not in said


def test_twenty_differences_are_planted() -> None:
    assert len(PLANTED) == 20


def _archive(path: Path, members: list[Member], *, compressed: bool = False) -> Path:
    buffer = io.BytesIO()
    write_archive(members, buffer)
    path.write_bytes(gzip.compress(buffer.getvalue()) if compressed else buffer.getvalue())
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["docker", "oci", "oci index"])
def test_an_archive_is_the_same_or_its_difference_is_named(
    images: Images,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    compressed: bool,
) -> None:
    write = docker_archive if kind == "docker" else oci_archive
    ours = images.index if kind == "oci index" else images.amd64
    same = _archive(tmp_path / "same.tar", write(ours, ["app:v1"]), compressed=compressed)
    assert run(images, same, capsys)[0] == verify.SAME
    planted = replant(images.amd64, tmp_path / "planted", layers={0: setting(TOML, mode=0o600)})
    other = _archive(tmp_path / "other.tar", write(planted, ["app:v1"]), compressed=compressed)
    code, said = run(images, "other.tar", capsys)
    assert code == verify.DIFFERENT
    assert other.name in said
    assert "    1. layer 1 (base): /etc/tool.toml: mode 0600 → 0644" in said
    assert "    2. " not in said


def test_a_saved_image_with_uncompressed_layers_is_the_same(
    images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As docker save writes it.
    image = read_layout(images.arm64)
    config = blob_path(images.arm64, image.manifest["config"]["digest"])
    names = [f"{number}/layer.tar" for number, _ in enumerate(image.layers)]
    members = [Member("config.json", config)]
    for name, layer in zip(names, image.layers, strict=True):
        members.append(Member(name, gzip.decompress(layer.path.read_bytes())))
    entry = {"Config": "config.json", "RepoTags": None, "Layers": names}
    members.append(Member("manifest.json", json.dumps([entry]).encode()))
    code, said = run(images, _archive(tmp_path / "saved.tar", members), capsys)
    assert code == verify.SAME
    assert f"  linux/arm64  {image.manifest['config']['digest']}" in said
    members[1] = Member("0/layer.tar", b"")
    code, said = run(images, _archive(tmp_path / "saved.tar", members), capsys)
    assert code == verify.UNKNOWN
    assert "engines will refuse the image" in said


def test_a_digest_is_known_or_the_known_ones_are_listed(
    images: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    image = read_layout(images.arm64)
    root = json.loads((images.index / "index.json").read_bytes())["manifests"][0]["digest"]
    for digest, what in {
        image.digest: "the image of linux/arm64",
        image.manifest["config"]["digest"]: "the image ID (digest of the config) of linux/arm64",
        root: "the image index of linux/amd64 and linux/arm64",
    }.items():
        assert run(images, digest, capsys) == (
            verify.SAME,
            f"same: this checkout makes {digest}: {what}\n",
        )
    code, said = run(images, f"sha256:{'0' * 64}", capsys)
    assert code == verify.DIFFERENT
    assert image.digest in said
    assert f"name the image by HOST/NAME@sha256:{'0' * 64}" in said


def _push(layout: Path, repository: str) -> None:
    assert push.main(["--layout", str(layout), "--repository", repository, "--tag=v1"]) == 0


@pytest.mark.parametrize("what", ["amd64", "arm64", "index"])
def test_a_pushed_image_is_the_same_after_one_document(
    images: Images, server: Server, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    layout: Path = getattr(images, what)
    _push(layout, f"{server.host}/{what}")
    digest = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
    for reference in (":v1", f"@{digest}", f":v1@{digest}"):
        with proxying(server.port, lambda _: None) as proxy:
            code, said = run(images, f"{proxy.host}/{what}{reference}", capsys)
        assert (code, said.count("same: this checkout makes")) == (verify.SAME, 1), said
        assert len([seen for seen in proxy.seen if "/manifests/" in seen.path]) == 1
        assert not [seen for seen in proxy.seen if "/blobs/" in seen.path]


def test_of_a_pushed_index_only_what_differs_is_read(
    images: Images, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = build(tmp_path / "planted", app="x = 2\n")
    _push(planted.index, f"{server.host}/planted")
    with proxying(server.port, lambda _: None) as proxy:
        code, said = run(images, f"{proxy.host}/planted:v1", capsys)
    assert code == verify.DIFFERENT
    sentence = "1. layer 3 (app): /app/main.py: content differs from byte 4 on, line 1: "
    assert said.count(f"    {sentence}'x = 2' → 'x = 1'\n") == 2
    read = {seen.path.rpartition("/")[2] for seen in proxy.seen if "/blobs/" in seen.path}
    found = [read_layout(layout) for layout in (planted.amd64, planted.arm64)]
    configs = {image.manifest["config"]["digest"] for image in found}
    assert read == configs | {found[0].layers[2].digest}, "the application's layer, once"
    assert len([seen for seen in proxy.seen if "/blobs/" in seen.path]) == 3


def test_an_index_that_lacks_an_image_is_named(
    images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--image={images.amd64}", f"--output={tmp_path / 'one'}"]
    assert index.main([*flags, f"--digest-output={tmp_path / 'digest'}", "--label=//x"]) == 0
    code, said = run(images, "one", capsys)
    assert code == verify.DIFFERENT
    assert "  1. index: the image of linux/arm64 is in this checkout only\n" in said
    assert "  linux/amd64: the same, sha256:" in said


def test_nothing_of_an_image_steers_the_terminal(
    images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rename(info: tarfile.TarInfo, _: bytes) -> None:
        info.name = "etc/\x1b[31m\udcff.toml"
        info.pax_headers = {"path": info.name}

    planted = replant(
        images.amd64,
        tmp_path / "planted",
        layers={0: on(TOML, rename)},
        edit_config=lambda config: config["config"].update(User="\x1b[31m\x9b"),
    )
    code, said = run(images, planted, capsys)
    assert code == verify.DIFFERENT
    assert "/etc/?[31m?.toml: is in the image only" in said
    assert 'user (User): "\\u001b[31m?" → "1000:1000"' in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("layer", "path", "old", "new", "cause"),
    [
        (0, _STANZA, b"Version: 2.1-3\n", b"", "/tool: the stanza has no field 'Version'"),
        (
            0,
            _STANZA,
            b"Package: tool",
            b"Package: other",
            "/tool: is the stanza of package 'other'",
        ),
        (0, _STANZA, b"made for", b"made\xfffor", "/tool: is not UTF-8: "),
        (0, "var/lib/dpkg/info/tool.md5sums", b"  usr", b" usr", "is not 'SUM  PATH'"),
        (
            1,
            _RECORD,
            b",24\n",
            b",many\n",
            "six.py: invalid literal for int() with base 10: 'many'",
        ),
        (1, _WHEEL, b"Tag: py3-none-any", b"Tag: py3", "dist-packages: "),
    ],
)
def test_metadata_that_cannot_be_read_is_a_difference_too(
    images: Images,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    layer: int,
    path: str,
    old: bytes,
    new: bytes,
    cause: str,
) -> None:
    def edit(_: tarfile.TarInfo, data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new)

    planted = replant(images.amd64, tmp_path / "planted", layers={layer: on(path, edit)})
    code, said = run(images, planted, capsys)
    assert code == verify.DIFFERENT
    assert f"{path}: content differs" in said
    assert "package metadata cannot be read: " in said
    assert cause in said


def test_a_damaged_layer_is_never_the_same(
    images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = replant(images.amd64, tmp_path / "damaged")
    layer = read_layout(damaged).layers[1]
    data = bytearray(layer.path.read_bytes())
    data[len(data) // 2] ^= 1
    layer.path.unlink()
    layer.path.write_bytes(data)
    code, said = run(images, damaged, capsys)
    assert code == verify.UNKNOWN
    assert f"not {layer.digest}" in said


def test_a_config_in_other_bytes_is_named(
    images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spaced = replant(images.amd64, tmp_path / "spaced")
    image = read_layout(spaced)
    config = json.dumps(image.config, indent=1).encode()
    entry = {**image.manifest["config"]}
    descriptor, _ = document(image.config, media_type=entry["mediaType"])
    assert descriptor.digest == entry["digest"]
    entry["digest"] = sha256_digest(config)
    entry["size"] = len(config)
    blob_path(spaced, entry["digest"]).write_bytes(config)
    root, data = document({**image.manifest, "config": entry}, media_type=image.media_type)
    blob_path(spaced, root.digest).write_bytes(data)
    (spaced / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [root.to_json()]})
    )
    code, said = run(images, spaced, capsys)
    assert code == verify.DIFFERENT
    assert "1. manifest: its documents say the same in other bytes" in said


@pytest.mark.parametrize(
    ("reference", "cause"),
    [
        ("./nothing", "verify: ./nothing: there is no such file or directory\n"),
        ("text", "neither a docker-archive (no manifest.json) nor an OCI layout (no oci-layout)"),
        ("folder", "oci-layout: cannot be read: No such file or directory"),
        ("127.0.0.1:1/app:v1", "127.0.0.1:1: connection failed: [Errno 111] Connection refused"),
        ("127.0.0.1:1/app:v 1", "tag 'v 1' must be 1 to 128 letters"),
        ("127.0.0.1:1/App", "'App' must be lower-case letters and digits"),
        ("127.0.0.1:1/app@sha256:12", "after the @ must be 'sha256:' and 64 lower-case"),
        ("ftp://127.0.0.1:1/app", "'ftp' is neither http nor https"),
    ],
)
def test_what_cannot_be_told_is_an_error_with_its_cause(
    images: Images,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    reference: str,
    cause: str,
) -> None:
    monkeypatch.setattr(pull, "Options", functools.partial(Options, first_delay=0.01))
    (tmp_path / "text").write_bytes(bytes(1024))
    (tmp_path / "folder").mkdir()
    code, said = run(images, reference, capsys)
    assert code == verify.UNKNOWN
    assert cause in said
    assert said.splitlines()[-1].startswith("verify: ")


def test_an_unknown_tag_is_an_error(
    images: Images, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(images, f"{server.host}/app:none", capsys)
    assert code == verify.UNKNOWN
    assert "manifest none: 404" in said


def test_help_says_what_may_be_verified_and_the_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        verify.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "HOST/NAME[:TAG]" in shown
    assert "0 this checkout makes it, and the rest holds; 1 it does not; 2" in shown


def test_nothing_is_left_behind(
    images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = _archive(tmp_path / "a.tar", oci_archive(images.amd64, []))
    assert run(images, archive, capsys)[0] == verify.SAME
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
