"""Declarations are read strictly: what is misspelt or unexplained is an error with its place."""

from pathlib import Path

import pytest

from tools.apt.maintainer_scripts import Alternative, Build, Copy, Directory, File, read_scripts
from tools.cli import ToolError

_GOOD = """\
base:
  does: much
  actions:
    - directory: mnt
    - {directory: run/lock, mode: "1777"}
    - {copy: usr/share/a, to: etc/a}
    - {file: etc/b, content: ""}
    - {alternative: x, link: usr/bin/x, path: usr/bin/y}
    - build: ld_cache
other: {does: nothing that matters, reason: nobody misses it}
"""


def test_every_kind_of_action_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scripts.yaml"
    path.write_text(_GOOD)
    scripts = read_scripts([path])
    assert scripts.actions("base") == (
        Directory(directory="mnt"),
        Directory.model_validate({"directory": "run/lock", "mode": "1777"}),
        Copy(copy="usr/share/a", to="etc/a"),
        File(file="etc/b", content=""),
        Alternative(alternative="x", link="usr/bin/x", path="usr/bin/y"),
        Build(build="ld_cache"),
    )
    modes = [action.mode for action in scripts.actions("base") if isinstance(action, Directory)]
    assert modes == [0o755, 0o1777]
    assert scripts.actions("other") == scripts.actions("unknown") == ()
    assert scripts.copied() == {"usr/share/a"}
    assert scripts.origins == {"base": path, "other": path}


def test_an_entry_for_several_versions_is_a_glob_and_the_longest_counts(tmp_path: Path) -> None:
    path = tmp_path / "scripts.yaml"
    path.write_text(
        "python3.*: {does: compiles, actions: [{build: python_bytecode}]}\n"
        "python3.*-minimal: {does: more, actions: [{directory: 'lib/{python}/packages'}]}\n"
        "python3.9-minimal: {does: nothing, reason: it is old}\n"
    )
    scripts = read_scripts([path])
    assert scripts.actions("python3.13") == (Build(build="python_bytecode"),)
    assert scripts.actions("python3.13-minimal") == (
        Directory(directory="lib/python3.13/packages"),
    )
    assert scripts.actions("python3.9-minimal") == ()
    assert scripts.origin("python3.13-minimal") == path
    assert scripts.key("python3-minimal") is None


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("does: much", "do: much", "base: does: field required; base: do: extra inputs"),
        ("directory: mnt", "directory: /mnt", "base: actions: 0: directory: directory: string"),
        ("directory: mnt", "folder: mnt", "base: actions: 0: not an action; it needs exactly one"),
        ("directory: mnt", "{copy: a, file: b}", "base: actions: 0: not an action"),
        ('mode: "1777"', "mode: 1777", 'mode: wanted a mode in quotes such as "0755", found 1777'),
        ('mode: "1777"', 'mode: "0888"', "found '0888'"),
        ("to: etc/a", "too: etc/a", "base: actions: 2: copy: to: field required"),
        ("ld_cache", "ld_cash", "input should be 'ca_bundle', 'ld_cache' or 'python_bytecode'"),
        (", reason: nobody misses it", "", "other: has no actions and no reason; say why"),
        ("nobody misses it", "''", "other: reason: string should match pattern"),
        ("other:", "base:", "written twice: base"),
        (_GOOD, "", "the file: input should be a valid dictionary, found None"),
        (_GOOD, "[", "while parsing"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_file_and_place(
    tmp_path: Path, old: str, new: str, cause: str
) -> None:
    assert old in _GOOD
    path = tmp_path / "scripts.yaml"
    path.write_text(_GOOD.replace(old, new, 1))
    with pytest.raises(ToolError) as caught:
        read_scripts([path])
    assert str(caught.value).startswith(f"{path}: ")
    assert cause in str(caught.value)
