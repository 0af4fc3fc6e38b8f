"""Tests inside an image: which modules they see, what reaches them, and what is kept of them."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tools.image.images_for_test import (
    PYTHON,
    PYTHON_ENV,
    PYTHON_LIBRARY,
    Member,
    directory,
    program_layer,
    python_layer,
    write_image,
)
from tools.pytest import pytest_in_image
from tools.pytest.pytest_in_image import main, read_wheels, tree_root

# In place of pytest, which wants more of the standard library than the image has.
PYTEST = """
import os, sys
def main(arguments):
    (report,) = [each[11:] for each in arguments if each.startswith("--junitxml=")]
    with open(report, "w") as stream:
        stream.write("<testsuites/>")
    import in_both, only_brought
    seen = [in_both.__file__, only_brought.__file__, os.getcwd(), os.environ.get("NAME", "")]
    seen += [open("/srv/data/file").read(), open("tests/case.py").read(), *arguments[-3:]]
    with open(os.environ["TEST_UNDECLARED_OUTPUTS_DIR"] + "/seen", "w") as stream:
        stream.write("\\n".join(seen))
    return 7
"""
START = "#!/bin/sh\nexec " + " ".join(PYTHON) + ' "$@"\n'


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A runfiles tree with an image, tests, a wheel that the image lacks and one it has."""
    layers = [
        program_layer(),
        python_layer(),
        [
            directory("app/tests"),
            Member("bin/python3", START.encode(), mode=0o755),
            Member(f"{PYTHON_LIBRARY}/in_both.py", b""),
        ],
    ]
    config = {"User": "app", "WorkingDir": "/app", "Env": ["PATH=/bin", PYTHON_ENV]}
    main_repository = tmp_path / "main"
    write_image(main_repository / "image", layers, config)
    for path, content in {
        "main/tests/case.py": "a test",
        "tree/file": "data",
        "one/site-packages/pytest.py": PYTEST,
        "one/site-packages/in_both.py": "raise AssertionError",
        "two/site-packages/only_brought.py": "",
        "main/wheels.txt": "one/site-packages\ntwo/site-packages\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    monkeypatch.chdir(main_repository)
    monkeypatch.setenv("XML_OUTPUT_FILE", str(tmp_path / "report.xml"))
    monkeypatch.setenv("TEST_UNDECLARED_OUTPUTS_DIR", str(tmp_path / "outputs"))
    monkeypatch.setenv("TESTBRIDGE_TEST_ONLY", "wanted")
    return [
        *("--image=image", "--tests=tests", "--target=/app/tests", "--wheels=wheels.txt"),
        *("--tree=data=../tree", "--env=NAME=value"),
        *("--", "tests"),
    ]


def test_the_images_own_modules_come_before_those_of_wheels(
    flags: list[str], tmp_path: Path
) -> None:
    assert main(flags) == 7
    in_both, only_brought, *seen = (tmp_path / "outputs" / "seen").read_text().split("\n")
    assert in_both == f"/{PYTHON_LIBRARY}/in_both.py"
    assert only_brought == "/srv/packages/only_brought.py"
    assert seen == ["/app", "value", "data", "a test", "tests", "-k", "wanted"]
    assert ET.parse(tmp_path / "report.xml").getroot().tag == "testsuites"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--image=tests", "tests/oci-layout: cannot be read: No such file or directory"),
        ("--wheels=missing.txt", "No such file or directory: 'missing.txt'"),
        ("--tree=other=../missing", "missing: no file in it, so there is nothing to mount"),
    ],
)
def test_a_run_that_cannot_start_is_an_error_of_one_line(
    flags: list[str], capsys: pytest.CaptureFixture[str], flag: str, message: str
) -> None:
    assert main([flag, *flags] if "tree" in flag else [*flags[:6], flag, *flags[6:]]) == 1
    error = capsys.readouterr().err
    assert error.startswith("image_pytest_test: ")
    assert message in error
    assert error.count("\n") == 1


def test_tests_that_never_end_fail(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("../one/site-packages/pytest.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(pytest_in_image, "TIMEOUT_SECONDS", 2.0)
    assert main(flags) == 1
    assert "image_pytest_test: timed out after 2 s" in capsys.readouterr().err


def test_a_flag_without_a_value_is_refused(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--env=NAME", *flags])
    assert "wanted NAME=VALUE, found 'NAME'" in capsys.readouterr().err


@pytest.mark.parametrize("shown", ["usr/bin/tool", "usr/bin", "usr"])
def test_a_tree_is_the_repository_behind_its_links(tmp_path: Path, shown: str) -> None:
    repository, runfiles = tmp_path / "repository", tmp_path / "runfiles"
    (repository / "usr" / "bin").mkdir(parents=True)
    (repository / "usr" / "bin" / "tool").write_text("")
    (runfiles / shown).parent.mkdir(parents=True)
    (runfiles / shown).symlink_to(repository / shown)
    assert tree_root(runfiles) == repository


@pytest.mark.skipif("WHEELS" not in os.environ, reason="the list is made by a rule")
def test_the_rule_lists_every_wheel_that_pytest_needs() -> None:
    packages = {path.parent.name.rpartition("_pypi_")[2]: path for path in _listed()}
    assert {"pytest", "pluggy", "iniconfig", "packaging", "pygments"} <= set(packages)
    for name, path in packages.items():
        assert any(path.iterdir()), name
    assert (packages["pluggy"] / "pluggy" / "__init__.py").is_file()


def _listed() -> tuple[Path, ...]:
    return read_wheels(Path(os.environ["WHEELS"]))
