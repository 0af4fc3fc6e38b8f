"""What changed between two builds of a small service: packages, CVEs, sizes, files, config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.apt.changelog import named, read_changelog
from tools.archive import debs_for_test as debs
from tools.cli import ToolError
from tools.image.layout import read_layout
from tools.verify import diff
from tools.verify.changelogs import Changelogs, Installed, Move
from tools.verify.packages import Source, source_of
from tools.verify.service_for_test import CHANGELOG, MODULE, Images, build, replant, setting


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return build(tmp_path_factory.mktemp("old") / "out")


@pytest.fixture(scope="session")
def new(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("new") / "out"
    return build(folder, foo="1.0-3", six="1.17.0", app="x = 1\ny = 2\n")


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("BUILD_WORKSPACE_DIRECTORY", raising=False)


def run(
    checkout: Images, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str]:
    """The exit code of the program in a checkout, and what it prints."""
    code = diff.main([*checkout.flags(), *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out + err


def report(
    checkout: Images, capsys: pytest.CaptureFixture[str], *arguments: object
) -> dict[str, Any]:
    code, said = run(checkout, capsys, "--format=json", *arguments)
    assert code == 0, said
    content: dict[str, Any] = json.loads(said)
    return content


def test_packages_that_moved_come_with_the_cves_between_their_versions(
    old: Images, new: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(new, capsys, old.amd64)
    assert found["packages"] == [
        {
            "kind": "Debian package",
            "name": "libfoo1",
            "old": "1.0-1",
            "new": "1.0-3",
            "cves": ["CVE-2025-0999", "CVE-2026-10000", "CVE-2026-20001"],
            "back": False,
        },
        {
            "kind": "Python wheel",
            "name": "six",
            "old": "1.16.0",
            "new": "1.17.0",
            "cves": None,
            "back": False,
        },
    ]


def test_every_layer_has_its_sizes_and_files_are_summed_by_kind(
    old: Images, new: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(new, capsys, old.amd64)
    sizes = [[layer.size for layer in read_layout(images.amd64).layers] for images in (old, new)]
    assert found["layers"] == [
        {"name": name, "old": before, "new": after, "same": False}
        for name, before, after in zip(["base", "wheels", "app"], *sizes, strict=True)
    ]
    assert (found["old"]["size"], found["new"]["size"]) == tuple(map(sum, sizes))
    rows = {row.pop("kind"): row for row in found["files"]}
    # The wheel's metadata is in a directory whose name has the version.
    assert rows["package metadata"] == {"added": 4, "removed": 4, "changed": 2, "bytes": 0}
    assert rows["Python modules"] == {"added": 0, "removed": 0, "changed": 1, "bytes": 6}
    assert rows["shared libraries"] == {"added": 0, "removed": 0, "changed": 1, "bytes": 0}
    assert ["/app/main.py", "changed"] in found["paths"]
    assert not [path for path, _ in found["paths"] if path == "/app"]


def test_a_wheels_unchanged_files_and_a_changed_mode_are_told_apart(
    old: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replant(old.amd64, tmp_path / "x", layers={1: setting(MODULE, mode=0o600)})
    found = report(old, capsys, other)
    assert found["paths"] == [[f"/{MODULE}", "changed"]]
    assert found["packages"] == []
    assert [layer["same"] for layer in found["layers"]] == [True, False, True]


def test_a_name_that_is_no_text_can_be_reported(
    old: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "etc/\x1b\udcff"
    edit = setting(MODULE, name=name, pax_headers={"path": name})
    other = replant(old.amd64, tmp_path / "x", layers={1: edit})
    found = report(old, capsys, old.amd64, other)
    assert ["/etc/??", "added"] in found["paths"]


def test_a_way_back_names_the_fixes_that_are_lost(
    old: Images, new: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(new, capsys, new.amd64, old.amd64)
    assert code == 0
    line = "  libfoo1  1.0-3 → 1.0-1  no longer fixed: CVE-2025-0999 CVE-2026-10000 CVE-2026-20001"
    assert line in said.splitlines()


def test_versions_of_other_checkouts_have_no_changelog_here(
    old: Images, new: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(old, capsys, old.amd64, new.amd64)
    assert code == 0
    assert "  libfoo1  1.0-1 → 1.0-3  changelog not at hand" in said.splitlines()
    assert "  no changelog of libfoo1: these versions are of no .deb file of this checkout" in said


def test_config_is_compared_field_by_field(
    old: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replant(
        old.amd64, tmp_path / "x", edit_config=lambda config: config["config"].update(User="root")
    )
    found = report(old, capsys, other)
    assert found["config"] == ['user (User): "root" → "1000:1000"']
    assert found["same"] is False


def test_the_text_has_it_all(old: Images, new: Images, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(new, capsys, old.index, new.index, "--platform=linux/arm64")
    assert code == 0
    lines = said.splitlines()
    assert lines[0].startswith(f"old  {old.index} (linux/arm64) sha256:")
    assert "Debian packages: 1 moved, 0 added, 0 removed" in lines
    assert "Python wheels: 1 moved, 0 added, 0 removed" in lines
    assert "  six  1.16.0 → 1.17.0" in lines
    assert [line.split()[0] for line in lines[lines.index("layers") + 1 :][:5]] == [
        "layer",
        "base",
        "wheels",
        "app",
        "all",
    ]


def test_markdown_is_tables(old: Images, new: Images, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(new, capsys, old.amd64, "--format=markdown")
    assert code == 0
    assert "### Debian packages: 1 moved, 0 added, 0 removed\n\n| name | version | CVEs |" in said
    assert "| libfoo1 | 1.0-1 → 1.0-3 | CVE-2025-0999 CVE-2026-10000 CVE-2026-20001 |" in said


@pytest.mark.parametrize("format_", ["text", "markdown", "json"])
def test_the_same_image_has_no_difference(
    old: Images, capsys: pytest.CaptureFixture[str], format_: str
) -> None:
    digest = read_layout(old.arm64).digest
    for arguments in ((old.amd64,), (old.index, old.index), (digest,)):
        code, said = run(old, capsys, *arguments, f"--format={format_}", "--exit-code")
        assert code == 0
        assert "no difference" in said.lower() or json.loads(said)["same"]


def test_the_exit_code_says_so_only_if_asked(
    old: Images, new: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(new, capsys, old.amd64)[0] == 0
    assert run(new, capsys, old.amd64, "--exit-code")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ((f"sha256:{'0' * 64}",), "a digest alone does not say where it can be read"),
        (("./nothing",), "./nothing: there is no such file or directory"),
        (("{index}", "{amd64}", "--platform=linux/riscv64"), "no image for linux/riscv64 in both"),
    ],
)
def test_what_cannot_be_compared_is_an_error_with_its_cause(
    old: Images, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], cause: str
) -> None:
    words = [each.format(index=old.index, amd64=old.amd64) for each in arguments]
    code, said = run(old, capsys, *words)
    assert code == diff.CANNOT
    assert said.startswith("diff: ")
    assert cause in said


@pytest.mark.parametrize(
    ("since", "cves"),
    [
        ("1.0-3", ()),
        ("1.0-2", ("CVE-2025-0999", "CVE-2026-20001")),
        ("1.0-2+deb12u1", ("CVE-2025-0999", "CVE-2026-20001")),
        ("0.9", ("CVE-2020-11111", "CVE-2025-0999", "CVE-2026-10000", "CVE-2026-20001")),
    ],
)
def test_only_entries_above_the_old_version_count(since: str, cves: tuple[str, ...]) -> None:
    assert named(CHANGELOG, since=since) == cves


def test_a_source_is_what_the_stanza_names() -> None:
    assert source_of("libssl3", "3.0-1", b"Source: openssl\n") == Source("openssl", "3.0-1")
    stanza = b"Package: busybox-static\nSource: busybox (1:1.35-4)\n"
    assert source_of("busybox-static", "1:1.35-4+b1", stanza) == Source("busybox", "1:1.35-4")
    assert source_of("dash", "0.5-2+b3", b"Package: dash\n") == Source("dash", "0.5-2")


def _move(name: str, old_version: str, new_version: str, *, source: str) -> Move:
    return Move(
        name,
        Installed(old_version, Source(source, old_version)),
        Installed(new_version, Source(source, new_version)),
    )


def test_packages_of_one_source_share_the_changelog_of_the_one_that_has_it(tmp_path: Path) -> None:
    text = debs.packed(CHANGELOG.encode(), ".gz")
    document = debs.TarMember("./usr/share/doc/foo-base/changelog.Debian.gz", text)
    filler = debs.TarMember("./usr/lib/filler", bytes(range(256)) * 300)
    with_text = debs.write_deb(tmp_path, "foo-base", [document, filler], version="1.0-3")
    link = debs.symlink("./usr/share/doc/libfoo1", "foo-base")
    without = debs.write_deb(tmp_path, "libfoo1", [link], version="1.0-3")
    moves = [_move(name, "1.0-2", "1.0-3", source="foo") for name in ("libfoo1", "foo-base")]
    found = Changelogs([without, with_text]).cves(moves)
    assert set(found.values()) == {("CVE-2025-0999", "CVE-2026-20001")}
    # Another version's .deb says nothing of this one.
    assert Changelogs([with_text]).cves([_move("foo-base", "1", "2", source="foo")]) == {
        "foo-base": None
    }


def test_a_damaged_changelog_is_named(tmp_path: Path) -> None:
    document = debs.TarMember("./usr/share/doc/libfoo1/changelog.gz", b"\x1f\x8bno")
    path = debs.write_deb(tmp_path, "libfoo1", [document])
    with pytest.raises(ToolError, match=r"libfoo1_1.0_amd64.deb: usr/share/doc/libfoo1/changelog"):
        read_changelog(path, "libfoo1")
