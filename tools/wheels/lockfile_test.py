"""The lock's format: what is written is read back, what is malformed is refused."""

from __future__ import annotations

import pytest

from tools.cli import ToolError
from tools.wheels.lockfile import LockedWheel, parse_lock, render_lock

_NUMPY = LockedWheel(
    name="numpy",
    version="2.4.6",
    extras=(),
    filename="numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    sha256="a" * 64,
    via=("opencv-python-headless", "requirements.in"),
)
_CELERY = LockedWheel(
    name="celery",
    version="5.7.0",
    extras=("pytest", "redis"),
    filename="celery-5.7.0-py3-none-any.whl",
    sha256="b" * 64,
    via=("requirements.in",),
)
_TEXT = render_lock((_NUMPY, _CELERY), title="some wheels by", command="bazel run //app:lock")


def test_a_lock_reads_back_as_it_was_written() -> None:
    assert parse_lock(_TEXT, source="lock") == (_CELERY, _NUMPY)


def test_the_order_of_packages_does_not_show_in_the_lock() -> None:
    assert (
        render_lock((_CELERY, _NUMPY), title="some wheels by", command="bazel run //app:lock")
        == _TEXT
    )


def test_a_lock_is_a_requirements_file_that_names_no_address() -> None:
    assert "\ncelery[pytest,redis]==5.7.0 \\\n    --hash=sha256:bbbb" in _TEXT
    assert "://" not in _TEXT


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "    --hash=sha256:" + "b" * 64,
            "    --hash=md5:abc",
            "lock:7: unexpected '    --hash=md5:abc'",
        ),
        ("celery[pytest,redis]==5.7.0 \\", "celery>=5 \\", r"lock:6: unexpected 'celery>=5 \\'"),
        (
            "celery-5.7.0-py3",
            "celery-5.6.0-py3",
            "celery-5.6.0-py3-none-any.whl is not celery 5.7.0",
        ),
        ("celery-5.7.0-py3-none-any.whl", "celery.tar.gz", "Invalid wheel filename"),
        ("celery[pytest,redis]==5.7.0", "numpy==2.4.6", "is not numpy 2.4.6"),
    ],
)
def test_a_malformed_entry_is_refused_with_its_line(old: str, new: str, message: str) -> None:
    with pytest.raises(ToolError) as caught:
        parse_lock(_TEXT.replace(old, new), source="lock")
    assert message in str(caught.value)
    assert str(caught.value).endswith("; lock again with: bazel run //app:lock")


def test_a_lock_without_its_head_still_says_what_to_do() -> None:
    with pytest.raises(ToolError, match=r"lock:1: .*; lock again with: the lock target beside it"):
        parse_lock("numpy\n", source="lock")


def test_a_package_locked_twice_is_refused() -> None:
    with pytest.raises(ToolError, match="numpy is locked twice"):
        parse_lock(_TEXT + "\n" + _TEXT.split("\n\n")[2], source="lock")


def test_a_lock_that_ends_in_the_middle_of_an_entry_is_refused() -> None:
    with pytest.raises(ToolError, match="lock: ends inside the entry of numpy"):
        parse_lock(_TEXT[: _TEXT.rindex("    --hash")], source="lock")
