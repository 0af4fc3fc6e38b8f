"""System calls of Linux that the standard library lacks. Imported at every start of a decoder."""

import ctypes
import os

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522

_LIBC = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: object) -> int:
    """Make a system call; return its result. Raise OSError if it fails."""
    result: int = _LIBC.syscall(ctypes.c_long(number), *arguments)
    return _checked(result)


def _prctl(option: int, value: int) -> None:
    _checked(_LIBC.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))


def set_memory_hidden(hidden: bool) -> None:  # noqa: FBT001 - the only argument, as in setters
    """Hide this process from others of its user, or show it again; `memory_hidden` tells.

    Hidden are memory, environment and descriptors in /proc, which root owns then; there is no core
    dump, and no debugger without CAP_SYS_PTRACE. A new program starts unhidden, a fork as hidden.
    """
    try:  # noqa: SIM105 - contextlib would be imported at every start of a decoder
        _prctl(_PR_SET_DUMPABLE, int(not hidden))
    except OSError:  # an emulator may lack it
        pass


def memory_hidden() -> bool:
    """Return whether this process is hidden."""
    result: int = _LIBC.prctl(_PR_GET_DUMPABLE, *map(ctypes.c_ulong, (0, 0, 0, 0)))
    return result == 0


def forbid_new_privileges() -> None:
    """Let no program gain rights by set-id bits or file capabilities. Raise OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up all capabilities, as root has them. Raise OSError."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _checked(_LIBC.capset(header, (ctypes.c_uint32 * 6)()))


def limit(kind: int, value: int) -> None:
    """Lower a resource limit, soft and hard, to at most `value`. Raise OSError."""
    limits = (ctypes.c_uint64 * 2)()
    _checked(_LIBC.getrlimit(kind, limits))
    bound = min(value, limits[1])
    _checked(_LIBC.setrlimit(kind, (ctypes.c_uint64 * 2)(bound, bound)))


def restore_signals() -> None:
    """Let a program handle the signals that Python ignores: SIGPIPE and SIGXFSZ."""
    for number in (13, 25):  # the module `signal` takes time to import
        _LIBC.signal(number, None)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
