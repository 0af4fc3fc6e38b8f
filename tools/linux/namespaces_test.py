"""A machine that forbids user namespaces is told why, and what helps."""

import errno
import os
from pathlib import Path

import pytest

from tools.linux import syscalls
from tools.linux.namespaces import unshare_as, why_forbidden

DENIED = PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ],
)
def test_a_setting_that_forbids_them_is_named_with_its_remedy(
    tmp_path: Path, setting: str, value: str, remedy: str
) -> None:
    file = tmp_path / setting
    file.parent.mkdir()
    file.write_text(f"{value}\n")
    name = setting.replace("/", ".")
    assert why_forbidden(DENIED, proc=str(tmp_path)) == (
        f"{name} is {value}; an administrator can run `sysctl {remedy}`"
    )
    file.write_text("5\n")
    assert name not in why_forbidden(DENIED, proc=str(tmp_path))


def test_every_setting_that_forbids_them_is_named(tmp_path: Path) -> None:
    for name in ("kernel/unprivileged_userns_clone", "user/max_user_namespaces"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("0")
    assert "=1`, and user.max_user_namespaces is 0" in why_forbidden(DENIED, proc=str(tmp_path))


def test_without_such_a_setting_the_error_tells_filter_from_limit(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert "nesting depth of 32 is reached" in why_forbidden(full, proc=str(tmp_path))
    assert "seccomp=unconfined" in why_forbidden(DENIED, proc=str(tmp_path))


def test_inside_the_caller_is_the_one_user_there_is() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            unshare_as(1234, 5678, syscalls.CLONE_NEWUTS)
            syscalls.set_hostname("inside")
            os.write(write, f"{os.getuid()} {os.getgid()} {os.uname().nodename}".encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read, encoding="ascii") as stream:
        assert stream.read() == "1234 5678 inside"
    assert os.uname().nodename != "inside"
