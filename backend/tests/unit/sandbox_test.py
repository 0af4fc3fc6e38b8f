"""The filter and the ruleset as bytes, for both architectures and every version of the kernel."""

import errno
import os
import struct

import pytest

from app.sandbox import decoder, landlock, seccomp

PID = 4242
ALLOW, KILL = "allow", "kill"
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
THREAD = 0x3D0F00  # what pthread_create passes to clone
FORK = 0x1200011


def decision(
    number: int,
    *arguments: int,
    machine: str = "x86_64",
    audit: int | None = None,
    writes: bool = False,
) -> str:
    """Return what the filter decides about a call, by running it as the kernel does."""
    code = seccomp.program(machine, pid=PID, writes=writes)
    data = struct.pack("<IIQ6Q", number, audit or AUDIT[machine], 0, *(*arguments, *[0] * 6)[:6])
    position, loaded = 0, 0
    while True:
        kind, true, false, value = struct.unpack_from("<HBBI", code, position * 8)
        position += 1
        if kind == 0x20:
            (loaded,) = struct.unpack_from("<I", data, value)
        elif kind == 0x06:
            names = {0x7FFF0000: ALLOW, 0x80000000: KILL}
            return names.get(value) or errno.errorcode[value & 0xFFFF]
        else:
            passed = {
                0x15: loaded == value, 0x25: loaded > value, 0x35: loaded >= value,
                0x45: bool(loaded & value),
            }[kind]  # fmt: skip
            position += true if passed else false


@pytest.mark.parametrize("machine", AUDIT)
def test_calls_that_decoding_needs_are_allowed_and_others_refused(machine: str) -> None:
    # read, mmap, futex, execve; socket, connect, ptrace, kill, io_uring_setup, unshare, bpf, mount
    needed, refused = {
        "x86_64": ((0, 9, 202, 59), (41, 42, 101, 62, 425, 272, 321, 165)),
        "aarch64": ((63, 222, 98, 221), (198, 203, 117, 129, 425, 97, 280, 40)),
    }[machine]
    assert {decision(number, machine=machine) for number in needed} == {ALLOW}
    assert {decision(number, machine=machine) for number in refused} == {"EPERM"}
    # clone3, openat2, and what no kernel had when this was written.
    assert {decision(number, machine=machine) for number in (435, 437, 463, 600)} == {"ENOSYS"}


@pytest.mark.parametrize("machine", AUDIT)
def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    (other,) = (audit for name, audit in AUDIT.items() if name != machine)
    assert decision(0, machine=machine, audit=other) == KILL
    assert decision(0, machine=machine, audit=0x40000003) == KILL  # 32-bit x86
    assert decision(0x40000000, machine=machine) == KILL  # x32


@pytest.mark.parametrize(
    ("machine", "clone", "tgkill", "prlimit", "openat", "ioctl"),
    [("x86_64", 56, 234, 302, 257, 16), ("aarch64", 220, 131, 261, 56, 29)],
)
def test_arguments_decide(
    machine: str, clone: int, tgkill: int, prlimit: int, openat: int, ioctl: int
) -> None:
    def ask(number: int, *arguments: int, writes: bool = False) -> str:
        return decision(number, *arguments, machine=machine, writes=writes)

    assert (ask(clone, THREAD), ask(clone, FORK)) == (ALLOW, "EPERM")
    assert (ask(tgkill, PID, 1, 6), ask(tgkill, 1, 1, 6)) == (ALLOW, "EPERM")
    assert [ask(prlimit, pid) for pid in (0, PID, 1)] == [ALLOW, ALLOW, "EPERM"]
    assert [ask(ioctl, 0, request) for request in (0x5401, 0x5412)] == [ALLOW, "EPERM"]
    assert ask(openat, 0, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
        assert ask(openat, 0, 0, flags) == "EPERM"
        assert ask(openat, 0, 0, flags, writes=True) == ALLOW


def test_filter_fits_and_every_number_is_decided_once() -> None:
    for machine in AUDIT:
        assert len(seccomp.program(machine, pid=1, writes=False)) // 8 < 4096
    for column in (0, 1):
        numbers = [call[column] for call in seccomp.REFUSED.values() if call[column] is not None]
        assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    ("abi", "words"),
    [
        (1, [0x1FFF]),
        (2, [0x3FFF]),
        (3, [0x7FFF]),
        (4, [0x7FFF, 3]),
        (5, [0xFFFF, 3]),
        (6, [0xFFFF, 3, 3]),
        (7, [0xFFFF, 3, 3]),
    ],
)
def test_ruleset_has_the_rights_that_the_kernel_knows(abi: int, words: list[int]) -> None:
    assert landlock.attributes(abi) == struct.pack(f"<{len(words)}Q", *words)


def test_missing_restrictions_are_named_by_kind() -> None:
    assert decoder.missing(["no-new-privileges", "landlock-abi-1", "seccomp"]) == []
    assert decoder.missing(["landlock-abi-1"]) == ["seccomp"]
    assert decoder.missing([]) == ["landlock", "seccomp"]
