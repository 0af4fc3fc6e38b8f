"""Landlock: which files a process may use, and whom it may reach.

See Documentation/userspace-api/landlock.rst of the kernel. A newer ABI has more rights; those that
the running kernel does not know are left out.
"""

import ctypes
import os
import stat

from app.sandbox.system import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every architecture
_VERSION = 1
_PATH_BENEATH = 1
NEWEST_ABI = 7

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | _IOCTL_DEV
READ = READ_FILE | READ_DIR
WRITE = READ_FILE | WRITE_FILE | TRUNCATE
# By ABI: all rights to files that it knows. 1: creating and removing, too; 2: moving between
# directories; 3: truncating; 5: ioctl on devices.
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 3  # ABI 4: bind and connect
_SCOPES = 3  # ABI 6: abstract Unix sockets and signals of processes outside


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


def attributes(abi: int) -> bytes:
    """Return the ruleset's attributes: every right of an ABI is denied unless a rule allows it."""
    files = _FILES[max(known for known in _FILES if known <= abi)]
    words = [files, *([_TCP] if abi >= 4 else []), *([_SCOPES] if abi >= 6 else [])]
    return b"".join(word.to_bytes(8, "little") for word in words)


def version() -> int:
    """Return the kernel's ABI, or 0 if it has no Landlock, or has it switched off."""
    try:
        return syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    except OSError:
        return 0


def restrict(rules: list[tuple[int, str]]) -> int:
    """Restrict this thread and its future children to `rules`: rights, and the path they are for.

    A directory's rights are those of everything below it. Paths that do not exist are left out.
    Return the ABI in force. Raise OSError if the kernel has Landlock but refuses.
    """
    abi = min(version(), NEWEST_ABI)
    if abi < 1:
        return 0
    ruleset = attributes(abi)
    handled = int.from_bytes(ruleset[:8], "little")
    descriptor = syscall(_CREATE_RULESET, ruleset, ctypes.c_size_t(len(ruleset)), 0)
    for access, path in rules:
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        possible = handled if stat.S_ISDIR(os.fstat(parent).st_mode) else handled & _OF_FILES
        rule = _Rule(access & possible, parent)
        syscall(_ADD_RULE, descriptor, _PATH_BENEATH, ctypes.byref(rule), 0)
        os.close(parent)
    syscall(_RESTRICT_SELF, descriptor, 0)
    os.close(descriptor)
    return abi
