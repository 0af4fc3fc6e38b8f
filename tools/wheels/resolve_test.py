"""One resolution, by pip for real, for a machine that the test does not run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.cli import ToolError
from tools.wheels.lockfile import LockedWheel
from tools.wheels.resolve import read_requirements, resolve
from tools.wheels.target import Target
from tools.wheels.wheels_for_test import TinyWheel, write_index

_ARM64 = Target(arch="arm64", python="3.11.2", glibc_minor=36)


def _resolve(
    path: Path, requirements: str, *index: TinyWheel, **variables: str
) -> dict[str, LockedWheel]:
    (path / "requirements.in").write_text(requirements, encoding="utf-8")
    environ = {
        "HOME": str(path),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": write_index(list(index), directory=path / "index"),
        **variables,
    }
    roots = read_requirements(path / "requirements.in")
    return {wheel.name: wheel for wheel in resolve(roots, target=_ARM64, environ=environ)}


def test_the_newest_stable_release_is_taken(tmp_path: Path) -> None:
    releases = [TinyWheel("a", version=version) for version in ("1.9", "1.10", "2.0rc1")]
    assert _resolve(tmp_path, "a\n", *releases)["a"].version == "1.10"


def test_markers_are_those_of_the_target_and_its_python(tmp_path: Path) -> None:
    requires = (
        "needed; platform_machine == 'aarch64'",
        "patched; python_full_version < '3.11.3'",
        "unneeded; platform_machine == 'x86_64'",
    )
    index = [TinyWheel(name) for name in ("needed", "patched", "unneeded", "written")]
    chosen = _resolve(
        tmp_path,
        "a\nwritten; platform_machine == 'aarch64'\nunneeded; sys_platform == 'win32'\n",
        TinyWheel("a", requires=requires),
        *index,
    )
    assert set(chosen) == {"a", "needed", "patched", "written"}


def test_an_extra_stays_in_the_lock_with_what_asked_for_it(tmp_path: Path) -> None:
    index = [TinyWheel("a", requires=("b; extra == 'x'",), extras=("x",)), TinyWheel("b")]
    chosen = _resolve(tmp_path, "a[x]\n", *index)
    assert (chosen["a"].extras, chosen["a"].via) == (("x",), ("requirements.in",))
    assert chosen["b"].via == ("a",)


def test_the_machines_constraints_and_local_directories_do_not_leak_in(tmp_path: Path) -> None:
    local = write_index([TinyWheel("a", version="3.0")], directory=tmp_path / "local")
    (tmp_path / "constraints").write_text("a<2\n", encoding="utf-8")
    config = tmp_path / "pip.conf"
    config.write_text(
        f"[global]\nconstraint = {tmp_path}/constraints\nextra-index-url = {local}\n"
        f"require-virtualenv = true\nfind-links = {tmp_path}/local/files\n",
        encoding="utf-8",
    )
    releases = [TinyWheel("a", version=version) for version in ("1.0", "2.0")]
    chosen = _resolve(tmp_path, "a\n", *releases, PIP_CONFIG_FILE=str(config))
    assert chosen["a"].version == "2.0"


@pytest.mark.parametrize(
    ("requirements", "index", "message"),
    [
        ("a>=2\n", [TinyWheel("a")], "No matching distribution found for a>=2"),
        (
            "a\n",
            [TinyWheel("a", tag="cp311-cp311-manylinux_2_37_aarch64")],
            "the requirements cannot be resolved for arm64",
        ),
        ("--index-url=https://example.org\n", [], "is neither a requirement nor `-r FILE`"),
        ("a @ https://example.org/a-1-py3-none-any.whl\n", [], "names a URL; only packages of"),
    ],
)
def test_what_cannot_be_resolved_says_why(
    tmp_path: Path, requirements: str, index: list[TinyWheel], message: str
) -> None:
    with pytest.raises(ToolError) as caught:
        _resolve(tmp_path, requirements, *index)
    assert message in str(caught.value)


def test_a_source_distribution_is_never_taken(tmp_path: Path) -> None:
    page = tmp_path / "index/simple/a/index.html"
    page.parent.mkdir(parents=True)
    source = tmp_path / "index/files/a-1.0.tar.gz"
    source.parent.mkdir()
    source.write_bytes(b"would run setup.py")
    page.write_text(f'<a href="{source.as_uri()}">a-1.0.tar.gz</a>\n', encoding="utf-8")
    with pytest.raises(ToolError, match="No matching distribution found for a"):
        _resolve(tmp_path, "a\n")


def test_requirements_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    file = tmp_path / "requirements.in"
    for line, message in (
        ("-r gone.in", "gone.in': cannot be read: .*No such file"),
        ("-r \0.in", "cannot be read: .*embedded null (byte|character)"),
        ("-r ../" + tmp_path.name + "/requirements.in", "requirements.in: includes itself by `-r`"),
    ):
        file.write_text(line + "\n")
        with pytest.raises(ToolError, match=message):
            read_requirements(file)
