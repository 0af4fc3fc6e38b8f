"""Wheels become a layer: where files go, what is refused, and what cannot show in the bytes."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tools.cli import ToolError
from tools.elf.strip_for_test import object_with_symbols
from tools.wheels import wheel_bytecode, wheel_layer
from tools.wheels.exclusions import read_exclusions, unused_globs, without_excluded
from tools.wheels.wheel_tree import PACKAGES, merge, read_wheel
from tools.wheels.wheels_for_test import TinyWheel, write_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

_TOOL = TinyWheel(
    "my-tool",
    entry_points="[console_scripts]\nmy-tool = my_tool:main\n",
    files={
        "my_tool/__init__.py": b"def main():\n    return 0\n",
        "my_tool/module.pyi": b"x: int\n",
        "my_tool/tests/test_it.py": b"assert True\n",
        "my_tool-1.0.data/scripts/run-tool": b"#!python\nprint('ran')\n",
        "my_tool-1.0.data/data/share/my-tool/data.txt": b"data\n",
        "my_tool-1.0.data/headers/my_tool.h": b"#pragma once\n",
    },
)
_OTHER = TinyWheel("other", files={"other/__init__.py": b"x = frozenset({'a', 'b', 'c'})\n"})


class _Built:
    """The layer that the command made of some wheels."""

    def __init__(self, path: Path) -> None:
        self.layer = path / "layer.tar.gz"
        self.descriptor = path / "layer.json"
        with tarfile.open(self.layer) as archive:
            self.members = {member.name: member for member in archive}
            self.content = {
                member.name: stream.read()
                for member in archive
                if (stream := archive.extractfile(member)) is not None
            }


def _commands(
    directory: Path, wheels: list[Path], exclude: list[dict[str, str]] | None
) -> dict[str, list[list[str]]]:
    """Return the arguments of each call that makes a layer, by module, in order."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = directory / "lock.json"
    lock.write_text(json.dumps({"mtime": 1700000000}), encoding="utf-8")
    excluded = []
    if exclude is not None:
        (directory / "exclude.json").write_text(json.dumps(exclude), encoding="utf-8")
        excluded.append(f"--exclude={directory}/exclude.json")
    bytecode = {wheel: directory / f"{wheel.name}.zip" for wheel in wheels}
    return {
        "wheel_bytecode": [
            [f"--wheel={wheel}", f"--out={out}", *excluded] for wheel, out in bytecode.items()
        ],
        "wheel_layer": [
            [
                *(f"--wheel={wheel}" for wheel in wheels),
                *(f"--bytecode={out}" for out in bytecode.values()),
                *excluded,
                f"--lock={lock}",
                f"--out={directory}/layer.tar.gz",
                f"--descriptor={directory}/layer.json",
            ]
        ],
    }


def _exit_code(
    directory: Path,
    wheels: list[Path],
    *,
    exclude: list[dict[str, str]] | None = None,
    strip: bool = False,
) -> int:
    """Make the layer and returns how the last call ended."""
    commands = _commands(directory, wheels, exclude)
    for arguments in commands["wheel_bytecode"]:
        assert wheel_bytecode.main(arguments) == 0
    return wheel_layer.main([*commands["wheel_layer"][0], *(["--strip"] if strip else [])])


def _build(
    directory: Path,
    *wheels: TinyWheel,
    exclude: list[dict[str, str]] | None = None,
    strip: bool = False,
) -> _Built:
    paths = [write_wheel(wheel, directory=directory / "wheels") for wheel in wheels]
    assert _exit_code(directory, paths, exclude=exclude, strip=strip) == 0
    return _Built(directory)


def test_packages_scripts_data_and_headers_go_where_debians_python_looks(tmp_path: Path) -> None:
    built = _build(tmp_path, _TOOL)
    assert built.content[f"{PACKAGES}/my_tool/__init__.py"] == b"def main():\n    return 0\n"
    assert built.content["usr/local/share/my-tool/data.txt"] == b"data\n"
    assert any(
        path.endswith(("/my-tool/my_tool.h", "/my_tool/my_tool.h")) for path in built.content
    )
    assert built.content["usr/local/bin/run-tool"] == b"#!/usr/bin/python3\nprint('ran')\n"
    assert built.content["usr/local/bin/my-tool"].startswith(b"#!/usr/bin/python3\n")


def test_a_console_script_runs(tmp_path: Path) -> None:
    built = _build(tmp_path, _TOOL)
    for path, data in built.content.items():
        place = tmp_path / "root" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    script = tmp_path / "root/usr/local/bin/my-tool"
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "root" / PACKAGES)},
        check=False,
    )
    assert done.returncode == 0


def test_owners_modes_and_times_are_fixed(tmp_path: Path) -> None:
    built = _build(tmp_path, _TOOL)
    assert {(member.uid, member.gid, member.mtime) for member in built.members.values()} == {
        (0, 0, 1700000000)
    }
    assert built.members["usr/local/bin/my-tool"].mode == 0o755
    assert built.members[f"{PACKAGES}/my_tool/__init__.py"].mode == 0o644


def test_every_module_has_bytecode_beside_it(tmp_path: Path) -> None:
    built = _build(tmp_path, _TOOL, _OTHER)
    modules = [path for path in built.content if path.endswith(".py")]
    assert len(modules) == 3
    for path in modules:
        directory, _, name = path.rpartition("/")
        bytecode = f"{directory}/__pycache__/{name[:-3]}.{sys.implementation.cache_tag}.pyc"
        assert built.content[bytecode][4:8] == b"\x01\0\0\0"


@pytest.mark.parametrize("strip", [False, True])
def test_record_lists_exactly_what_the_layer_holds(tmp_path: Path, *, strip: bool) -> None:
    files = {**_TOOL.files, "my_tool/native.so": object_with_symbols()}
    built = _build(
        tmp_path,
        replace(_TOOL, files=files),
        exclude=[{"glob": "**/*.pyi", "reason": "stubs"}],
        strip=strip,
    )
    assert (b"symbols." in built.content[f"{PACKAGES}/my_tool/native.so"]) != strip
    record = f"{PACKAGES}/my_tool-1.0.dist-info/RECORD"
    rows = list(csv.reader(built.content[record].decode().splitlines()))
    listed = {os.path.normpath(f"{PACKAGES}/{path}"): digest for path, digest, _ in rows}
    assert listed.keys() == built.content.keys()
    for path, digest in listed.items():
        expected = (
            base64.urlsafe_b64encode(hashlib.sha256(built.content[path]).digest())
            .decode()
            .rstrip("=")
        )
        assert digest == ("" if path == record else f"sha256={expected}")
    assert built.content[f"{PACKAGES}/my_tool-1.0.dist-info/INSTALLER"] == b"pinned_image\n"


def test_what_the_list_excludes_stays_out_with_its_bytecode(tmp_path: Path) -> None:
    built = _build(tmp_path, _TOOL, exclude=[{"glob": "my_tool/**/tests/**", "reason": "tests"}])
    assert not [path for path in built.content if "tests" in path]


def test_bytecode_can_be_left_out_where_the_module_stays(tmp_path: Path) -> None:
    rule = {"glob": "my_tool/tests/__pycache__/**", "reason": "run once"}
    built = _build(tmp_path, _TOOL, exclude=[rule])
    paths = [path.removeprefix(f"{PACKAGES}/my_tool/tests/") for path in built.content]
    assert [path for path in paths if path.startswith(("test_it", "__py"))] == ["test_it.py"]


def test_a_console_script_can_be_left_out(tmp_path: Path) -> None:
    rule = {"glob": "../../../bin/my-tool", "reason": "nobody calls it"}
    built = _build(tmp_path, _TOOL, exclude=[rule])
    assert [path for path in built.content if "/bin/" in path] == ["usr/local/bin/run-tool"]


def test_nothing_around_the_tool_shows_in_the_bytes(tmp_path: Path) -> None:
    wheels = [write_wheel(wheel, directory=tmp_path / "wheels") for wheel in (_TOOL, _OTHER)]
    results = []
    for name, umask, seed, zone, order in (
        ("one", 0o022, "0", "UTC", 1),
        ("two/deeper", 0o077, "4711", "Asia/Tokyo", -1),
    ):
        for module, calls in _commands(tmp_path / name, wheels[::order], None).items():
            for arguments in calls:
                subprocess.run(
                    [sys.executable, "-m", f"tools.wheels.{module}", *arguments],
                    env={
                        **os.environ,
                        "PYTHONPATH": os.pathsep.join(sys.path),
                        "PYTHONHASHSEED": seed,
                        "TZ": zone,
                    },
                    umask=umask,
                    check=True,
                )
        results.append(
            {
                path.name: path.read_bytes()
                for path in (tmp_path / name).iterdir()
                if path.name.endswith((".zip", ".gz", "layer.json"))
            }
        )
    assert len(results[0]) == len(wheels) + 2
    assert results[0] == results[1]


def test_two_wheels_that_bring_one_path_with_different_content_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write_wheel(TinyWheel("one", files={"shared/x.txt": b"1"}), directory=tmp_path)
    two = write_wheel(TinyWheel("two", files={"shared/x.txt": b"2"}), directory=tmp_path)
    assert _exit_code(tmp_path / "out", [two, one]) == 1
    message = capsys.readouterr().err
    assert (
        f"one-1.0-py3-none-any.whl and two-1.0-py3-none-any.whl both bring {PACKAGES}/shared/x.txt"
        in message
    )
    assert not (tmp_path / "out/layer.tar.gz").exists()


def test_two_wheels_may_bring_one_path_with_equal_content(tmp_path: Path) -> None:
    trees = [
        read_wheel(
            write_wheel(TinyWheel(name, files={"shared/__init__.py": b""}), directory=tmp_path)
        )
        for name in ("one", "two")
    ]
    assert len([file for file in merge(trees) if file.path.endswith("shared/__init__.py")]) == 1


@pytest.mark.parametrize(
    "path", ["../outside.py", "pkg/../../outside.py", "/etc/passwd", "my-1.0.data/scripts/../../x"]
)
def test_a_path_that_climbs_out_is_refused(tmp_path: Path, path: str) -> None:
    wheel = write_wheel(TinyWheel("my", files={path: b""}), directory=tmp_path)
    with pytest.raises(ToolError, match=r"my-1\.0-py3-none-any\.whl: "):
        read_wheel(wheel)


def test_a_console_script_cannot_leave_its_directory(tmp_path: Path) -> None:
    wheel = TinyWheel(
        "my", entry_points="[console_scripts]\n../../etc/evil = my:main\n", files={"my.py": b""}
    )
    with pytest.raises(ToolError, match="relative and has no"):
        read_wheel(write_wheel(wheel, directory=tmp_path))


def test_content_that_record_does_not_vouch_for_is_refused(tmp_path: Path) -> None:
    wheel = write_wheel(_OTHER, directory=tmp_path, corrupt={"other/__init__.py": b"import os\n"})
    message = (
        r"other-1\.0-\S+: not a valid wheel: other/__init__\.py differs from its hash in RECORD"
    )
    with pytest.raises(ToolError, match=message):
        read_wheel(wheel)


def _without_init(record: str) -> str:
    return "".join(row for row in record.splitlines(True) if not row.startswith("other/"))


@pytest.mark.parametrize(
    "record",
    [
        _without_init,  # as in selenium 4.1.0
        lambda record: record.replace("other/", "./other/"),
        lambda record: "".join(f"{row.split(',')[0]},,\n" for row in record.splitlines()),
        lambda record: record.replace(",4", ",5"),
        lambda record: record.replace("sha256=", "md5="),
        lambda record: record.replace(",4", "=,4"),  # padded base64
        lambda record: record.replace("RECORD,,", "RECORD,sha256=AAAA,1"),
        lambda record: record.replace("\n", ",fourth\n") + "\nother/gone.py,sha256=AAAA,1\nx\n",
        lambda _: "",
    ],
)
def test_an_incomplete_record_is_accepted_as_by_pip(
    tmp_path: Path, record: Callable[[str], str]
) -> None:
    complete = write_wheel(_OTHER, directory=tmp_path / "complete")
    incomplete = write_wheel(_OTHER, directory=tmp_path, record=record)
    assert incomplete.read_bytes() != complete.read_bytes()
    assert merge([read_wheel(incomplete)]) == merge([read_wheel(complete)])


def test_a_hash_in_record_counts_whatever_the_spelling_of_its_path(tmp_path: Path) -> None:
    wheel = write_wheel(
        _OTHER,
        directory=tmp_path,
        corrupt={"other/__init__.py": b"import os\n"},
        record=lambda record: record.replace("other/", "././other/"),
    )
    with pytest.raises(ToolError, match="differs from its hash in RECORD"):
        read_wheel(wheel)


def test_a_wheel_without_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("my-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    with pytest.raises(ToolError, match=r"not a valid wheel: .*my-1\.0\.dist-info/RECORD"):
        read_wheel(path)


@pytest.mark.parametrize("top", ["my-1.0.data", "My-1.0.data", "other.data"])
def test_a_data_directory_may_have_any_name(tmp_path: Path, top: str) -> None:
    wheel = TinyWheel("my", files={f"{top}/scripts/tool": b"#!python\n", f"{top}.py": b""})
    paths = [file.path for file in read_wheel(write_wheel(wheel, directory=tmp_path)).files]
    assert "usr/local/bin/tool" in paths
    assert f"{PACKAGES}/{top}.py" in paths


@pytest.mark.parametrize(
    ("wheel", "cause"),
    [
        (TinyWheel("my", entry_points="[console_scripts]\ntool = my\n"), "a malformed entry point"),
        (TinyWheel("my", files={"my-1.0.data/x/y": b""}), "my-1.0.data/x/y is not contained in a"),
    ],
)
def test_what_pip_refuses_is_refused_with_the_cause(
    tmp_path: Path, wheel: TinyWheel, cause: str
) -> None:
    with pytest.raises(ToolError, match=rf"^my-1\.0-\S+: not a valid wheel: {cause}"):
        read_wheel(write_wheel(wheel, directory=tmp_path))


def test_of_two_files_for_one_path_the_one_that_pip_writes_last_is_kept(tmp_path: Path) -> None:
    files = {
        "my-1.0.data/purelib/my/__init__.py": b"data\n",
        "my-1.0.data/data/bin/second": b"data\n",
        "my-1.0.data/scripts/tool": b"#!python\n",
        "my-1.0.data/data/bin/tool": b"data\n",
        "my-1.0.data/scripts/second": b"scripts\n",
        "my/__init__.py": b"root\n",
        "./my/twice.py": b"first\n",
        "my/twice.py": b"second\n",
    }
    for order in (1, -1):
        wheel = TinyWheel(
            "my",
            entry_points="[console_scripts]\ntool = my:main\n",
            files=dict(list(files.items())[::order]),
        )
        tree = read_wheel(write_wheel(wheel, directory=tmp_path))
        content = {file.path: file.data for file in tree.files}
        assert content[f"{PACKAGES}/my/__init__.py"] == b"data\n"
        assert content["usr/local/bin/second"] == b"scripts\n"
        assert b"from my import main" in content["usr/local/bin/tool"]
        assert content[f"{PACKAGES}/my/twice.py"] == (b"second\n" if order == 1 else b"first\n")


def test_a_damaged_shared_object_is_refused_when_it_should_be_stripped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"my/native.so": object_with_symbols()[:100]}
    wheel = write_wheel(TinyWheel("my", files=files), directory=tmp_path)
    assert _exit_code(tmp_path, [wheel], strip=True) == 1
    expected = f"my-1.0-py3-none-any.whl: {PACKAGES}/my/native.so: damaged ELF object"
    assert expected in capsys.readouterr().err


def test_a_file_that_is_not_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my-1.0-py3-none-any.whl"
    path.write_bytes(b"not a wheel")
    with pytest.raises(
        ToolError, match=r"my-1\.0-py3-none-any\.whl: not a valid wheel: File is not a zip file"
    ):
        read_wheel(path)


def test_a_damaged_or_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = write_wheel(TinyWheel("my", files={"my.py": b"x = 1\n" * 50}), directory=tmp_path)
    good = path.read_bytes()
    header = good.index(b"PK\x01\x02")
    for offset, value, cause in (
        (8, 1, "'my.py' is encrypted"),
        (10, 99, "compression method is not supported"),
        (6, 99, "zip file version 9.9"),
    ):
        path.write_bytes(good[: header + offset] + bytes([value]) + good[header + offset + 1 :])
        with pytest.raises(ToolError, match=rf"my-1\.0-\S+: not a valid wheel: .*{cause}"):
            read_wheel(path)


def test_malformed_entry_points_are_refused(tmp_path: Path) -> None:
    wheel = TinyWheel("my", entry_points="[console_scripts\n", files={"my.py": b""})
    path = write_wheel(wheel, directory=tmp_path)
    with pytest.raises(ToolError, match="not a valid wheel: File contains no section headers"):
        read_wheel(path)


def test_bytecode_that_a_wheel_brings_is_left_out(tmp_path: Path) -> None:
    wheel = TinyWheel("my", files={"my/__pycache__/x.cpython-311.pyc": b"anything"})
    tree = read_wheel(write_wheel(wheel, directory=tmp_path))
    assert not [file for file in tree.files if "__pycache__" in file.path]


def test_an_executable_file_stays_executable(tmp_path: Path) -> None:
    wheel = TinyWheel("my", files={"my/bin/program": b"\x7fELF"})
    tree = read_wheel(write_wheel(wheel, directory=tmp_path, executable=("my/bin/program",)))
    assert [file.path for file in tree.files if file.executable] == [f"{PACKAGES}/my/bin/program"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"glob": "*"}]', "KeyError"),
        ('[{"glob": "*", "reason": " "}]', "every glob needs a reason"),
        ("{", "JSON"),
    ],
)
def test_an_exclusion_without_a_reason_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "exclude.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ToolError, match=message):
        read_exclusions(path)


def test_a_glob_that_matches_nothing_is_found(tmp_path: Path) -> None:
    tree = read_wheel(write_wheel(_TOOL, directory=tmp_path))
    globs = ("**/*.pyi", "gone/**", "!**/*.py")
    assert unused_globs([tree], globs=globs) == ("gone/**",)
    assert f"{PACKAGES}/my_tool/module.pyi" not in [
        file.path for file in without_excluded(tree, globs=globs).files
    ]


def test_a_lock_without_a_timestamp_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = write_wheel(_OTHER, directory=tmp_path)
    commands = _commands(tmp_path, [wheel], None)
    assert wheel_bytecode.main(commands["wheel_bytecode"][0]) == 0
    (tmp_path / "lock.json").write_text("{}", encoding="utf-8")
    assert wheel_layer.main(commands["wheel_layer"][0]) == 1
    assert "wanted a lock with an integer `mtime`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (b"x = (\n", "'(' was never closed"),
        # aenum 3.1.15 has such a file for Python 2, PySide 6 has templates.
        (b"def raise_with(exc, tb):\n    raise exc, None, tb\n", "invalid syntax"),
        (b"x = '\0'\n", "source code string cannot contain null bytes"),
    ],
)
def test_a_module_that_does_not_compile_is_named_and_has_no_bytecode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: bytes, cause: str
) -> None:
    built = _build(tmp_path, TinyWheel("my", files={"my/a.py": b"", "my/_py2.py": source}))
    note = capsys.readouterr().err
    assert f"my-1.0-py3-none-any.whl: /{PACKAGES}/my/_py2.py does not compile: {cause}" in note
    assert "excluded_paths" in note
    assert built.content[f"{PACKAGES}/my/_py2.py"] == source
    record = built.content[f"{PACKAGES}/my-1.0.dist-info/RECORD"].decode()
    compiled = f"my/__pycache__/a.{sys.implementation.cache_tag}.pyc"
    assert [row.split(",")[0] for row in record.splitlines() if ".pyc" in row] == [compiled]
    assert [path for path in built.content if ".pyc" in path] == [f"{PACKAGES}/{compiled}"]


@pytest.mark.parametrize("glob", ["my/_py2.py", "my/__pycache__/_py2.*.pyc"])
def test_a_glob_silences_the_note_about_a_module_that_does_not_compile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], glob: str
) -> None:
    wheel = TinyWheel("my", files={"my/_py2.py": b"print 1\n"})
    _build(tmp_path, wheel, exclude=[{"glob": glob, "reason": "for Python 2"}])
    assert capsys.readouterr().err == ""


def test_a_wheel_without_its_bytecode_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (arguments,) = _commands(tmp_path, [Path("a.whl"), Path("b.whl")], None)["wheel_layer"]
    with pytest.raises(SystemExit):
        wheel_layer.main([word for word in arguments if "b.whl.zip" not in word])
    assert "each --wheel needs a --bytecode" in capsys.readouterr().err
