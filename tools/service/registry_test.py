"""The registry: what each module is made of, that it can be moved, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tools.archive.debs_for_test import TarMember, symlink, write_deb
from tools.service import registry
from tools.service.registry import MODULES, main

_MODULE = 'module(name = "pinned_image", version = "1.2.3")\n'


@pytest.fixture
def release(tmp_path: Path) -> Path:
    top = tmp_path / "pinned_image-1.2.3"
    top.mkdir()
    (top / "MODULE.bazel").write_text(_MODULE)
    path = tmp_path / "release.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(top, arcname=top.name)
    return path


@pytest.fixture
def debs(tmp_path: Path) -> list[Path]:
    return [
        write_deb(
            tmp_path,
            module.package,
            [
                TarMember(f"./{module.directory}/BUILD", b"# real"),
                TarMember("./usr/share/doc/copyright", b"elsewhere"),
                symlink(f"./{module.directory}/link", "BUILD"),
            ],
        )
        for module in MODULES
        if module.package
    ]


def _run(out: Path, release: Path, debs: list[Path], *more: str) -> int:
    flags = [f"--deb={deb}" for deb in debs]
    return main([f"--out={out}", f"--release={release}", *flags, *more])


def _source(out: Path, name: str, version: str) -> Any:
    return json.loads((out / "modules" / name / version / "source.json").read_text())


def test_every_module_has_its_text_and_its_files(
    tmp_path: Path, release: Path, debs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "registry"
    assert _run(out, release, debs) == 0
    assert capsys.readouterr().out == f"common --registry=file://{out}\n"
    assert json.loads((out / "bazel_registry.json").read_text()) == {"module_base_path": "sources"}
    for module in MODULES:
        text = (out / "modules" / module.name / module.version / "MODULE.bazel").read_text()
        assert text.startswith(f'module(name = "{module.name}", version = "{module.version}")\n')
        source = _source(out, module.name, module.version)
        assert not source["path"].startswith("/"), "a registry that is moved would be lost"
        files = {path.name for path in (out / "sources" / source["path"]).iterdir()}
        expected = {"BUILD", "link"} if module.package else {"BUILD.bazel", "MODULE.bazel"}
        assert files == expected | set(module.files)


def test_every_version_that_a_module_asks_for_is_there() -> None:
    there = {(module.name, module.version) for module in MODULES}
    for module in MODULES:
        for line in module.text.splitlines():
            if line.startswith("bazel_dep"):
                assert (line.split('"')[1], line.split('"')[3]) in there, (module.name, line)


def test_the_release_is_fetched_from_where_it_lies_and_checked(
    tmp_path: Path, release: Path, debs: list[Path]
) -> None:
    out = tmp_path / "registry"
    assert _run(out, release, debs) == 0
    digest = base64.b64encode(hashlib.sha256(release.read_bytes()).digest()).decode()
    assert _source(out, "pinned_image", "1.2.3") == {
        "type": "archive",
        "url": f"file://{release}",
        "integrity": f"sha256-{digest}",
        "strip_prefix": "pinned_image-1.2.3",
    }
    assert (out / "modules/pinned_image/1.2.3/MODULE.bazel").read_text() == _MODULE


def test_a_url_takes_the_place_of_the_file(tmp_path: Path, release: Path, debs: list[Path]) -> None:
    out = tmp_path / "registry"
    assert _run(out, release, debs, "--url=https://example.org/release.tar.gz") == 0
    url = _source(out, "pinned_image", "1.2.3")["url"]
    assert url == "https://example.org/release.tar.gz"


def test_without_debs_it_takes_those_of_bazelw(
    tmp_path: Path, release: Path, debs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(root: Path, **_: object) -> None:
        root.mkdir(parents=True)

    entries = [
        {
            "name": deb.name.partition("_")[0],
            "version": "1.0",
            "filename": f"pool/{deb.name}",
            "size": deb.stat().st_size,
            "sha256": hashlib.sha256(deb.read_bytes()).hexdigest(),
            "arch": arch,
        }
        for deb in debs
        for arch in ("amd64", "arm64")
    ]
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({"version": 1, "snapshot": "x", "packages": entries}))
    store = tmp_path / "cache" / "pinned_image" / "debs"
    store.mkdir(parents=True)
    for deb in debs:
        deb.rename(store / f"{hashlib.sha256(deb.read_bytes()).hexdigest()}.deb")
    monkeypatch.setattr(registry, "LOCK", lock)
    monkeypatch.setattr(registry, "prepare", prepare)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert _run(tmp_path / "registry", release, []) == 0
    assert (tmp_path / "registry/sources/platforms/0.0.9/BUILD").read_text() == "# real"
    assert list((tmp_path / "cache/pinned_image/roots").iterdir()), "bazelw's root was prepared"


def test_a_missing_package_is_named(
    tmp_path: Path, release: Path, debs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [deb for deb in debs if not deb.name.startswith("bazel-platforms_")]
    assert _run(tmp_path / "registry", release, kept) == 1
    assert capsys.readouterr().err == (
        "registry: no package bazel-platforms, which module platforms is made of; name it with "
        "--deb\n"
    )


def test_a_directory_that_exists_is_left_alone(
    tmp_path: Path, release: Path, debs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, release, debs) == 1
    assert "exists already; remove it or choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"<html>", "is not a .tar.gz archive"), (None, "has no MODULE.bazel; make it with")],
)
def test_what_is_no_release_is_named(
    tmp_path: Path,
    debs: list[Path],
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
    complaint: str,
) -> None:
    path = tmp_path / "x.tar.gz"
    if content is None:
        with tarfile.open(path, "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("pinned_image-1.2.3/README.md"))
    else:
        path.write_bytes(content)
    assert _run(tmp_path / "registry", path, debs) == 1
    assert f"{path}: {complaint}" in capsys.readouterr().err
