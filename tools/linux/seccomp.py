"""System-call filters: rules → a BPF program → in force for this process and what it starts.

    install(program(rules, last=469))

A rule refuses one call with an errno, always or only with certain arguments. Calls beyond `last`
do not exist for the process, nor does any other way to make calls (i386, x32, 32-bit ARM), so that
a table for one numbering is enough. Python 3.9 and the standard library alone. Sources: seccomp(2),
uapi/linux/{seccomp,bpf_common,audit}.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tools.linux.syscalls import prctl

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _AND, _JUMP, _IF_EQUAL, _IF_ABOVE, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x25, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

Code = tuple[int, int, int, int]  # opcode, jumps if true and false, operand


class Test(NamedTuple):
    """Whether `mask` of an argument's lower half, all that the kernel reads, is among `values`."""

    argument: int
    mask: int
    values: tuple[int, ...]
    among: bool = False


class Rule(NamedTuple):
    """A call to refuse if every test holds."""

    number: int
    error: int = errno.EPERM
    tests: tuple[Test, ...] = ()


def program(rules: Iterable[Rule], *, last: int, machine: str | None = None) -> bytes:
    """Return the filter for a machine, this one by default; `last` is the last call there is.

    Raise OSError for a machine whose calls have no table here.
    """
    machine = machine or os.uname().machine
    if machine not in _AUDIT:
        raise OSError(errno.ENOSYS, f"system calls of {machine} cannot be filtered")
    code: list[Code] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, _AUDIT[machine]),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_ABOVE, 0, 1, last),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    for rule in rules:
        body = _body(rule)
        code += [(_IF_EQUAL, 0, len(body), rule.number), *body]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *each) for each in code)


def _body(rule: Rule) -> list[Code]:
    """Return the code that decides about a call; nothing after it runs for that call."""
    code: list[Code] = [(_RETURN, 0, 0, _ERRNO | rule.error)]
    if rule.tests:
        code.append((_RETURN, 0, 0, _ALLOW))
    for test in reversed(rule.tests):
        code = [*_test(test, allow=len(code) - 1), *code]
    return code


def _test(test: Test, *, allow: int) -> Sequence[Code]:
    """Return code that runs into what follows it if the test holds, else jumps `allow` further."""
    after = len(test.values)
    jumps = [
        (_IF_EQUAL, after - position if test.among else allow + after - 1 - position, 0, value)
        for position, value in enumerate(test.values)
    ]
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * test.argument),
        (_AND, 0, 0, test.mask),
        *jumps,
        *([(_JUMP, 0, 0, allow)] if test.among else []),
    ]


def install(code: bytes) -> None:
    """Put a filter in force; the process needs no_new_privs or CAP_SYS_ADMIN. Raise OSError."""
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    pointer = ctypes.create_string_buffer(header, len(header))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(pointer))
