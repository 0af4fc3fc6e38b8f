"""The system calls that a container's processes are refused, as by the default of the engines.

Everything is allowed that Linux 6.18 has, but what administers the machine, makes namespaces or
mounts, looks into other processes, or has been the way out of containers (io_uring, userfaultfd,
keyctl, bpf, perf). Newer calls are answered with ENOSYS. A granted capability brings its calls, as
in an engine. What the engines' lists (containers/common seccomp.json, moby's profiles/seccomp) do
not have: no TIOCSTI, no families of sockets but the usual ones, and no set-id files where others
could reach them.
"""

from __future__ import annotations

import errno
import os

from tools.container.plan import Plan
from tools.linux.capabilities import NUMBERS
from tools.linux.seccomp import Rule, Test, program

LAST = 469  # file_setattr, Linux 6.17
# Name → number on x86_64 and aarch64 (uapi asm/unistd_64.h, asm-generic/unistd.h); -1: none there.
CALLS = {
    "acct": (163, 89), "add_key": (248, 217), "bpf": (321, 280), "chmod": (90, -1),
    "chroot": (161, 51), "clock_settime": (227, 112), "clone": (56, 220), "clone3": (435, 435),
    "creat": (85, -1), "create_module": (174, -1), "delete_module": (176, 106),
    "fanotify_init": (300, 262), "fchmod": (91, 52), "fchmodat": (268, 53),
    "fchmodat2": (452, 452), "finit_module": (313, 273), "fsconfig": (431, 431),
    "fsetxattr": (190, 7), "fsmount": (432, 432), "fsopen": (430, 430), "fspick": (433, 433),
    "get_mempolicy": (239, 236), "init_module": (175, 105), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "io_uring_setup": (425, 425), "ioctl": (16, 29),
    "ioperm": (173, -1), "iopl": (172, -1), "kcmp": (312, 272), "kexec_file_load": (320, 294),
    "kexec_load": (246, 104), "keyctl": (250, 219), "lookup_dcookie": (212, 18),
    "lsetxattr": (189, 6), "mbind": (237, 235), "migrate_pages": (256, 238), "mknod": (133, -1),
    "mknodat": (259, 33), "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429),
    "move_pages": (279, 239), "nfsservctl": (180, 42), "open": (2, -1),
    "open_by_handle_at": (304, 265), "open_tree": (428, 428), "open_tree_attr": (467, 467),
    "openat": (257, 56), "openat2": (437, 437), "perf_event_open": (298, 241),
    "personality": (135, 92), "pidfd_getfd": (438, 438), "pivot_root": (155, 41),
    "process_madvise": (440, 440), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "ptrace": (101, 117), "query_module": (178, -1), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "reboot": (169, 142), "request_key": (249, 218),
    "set_mempolicy": (238, 237), "set_mempolicy_home_node": (450, 450), "setdomainname": (171, 162),
    "sethostname": (170, 161), "setns": (308, 268), "settimeofday": (164, 170),
    "setxattr": (188, 5), "setxattrat": (463, 463), "socket": (41, 198), "socketpair": (53, 199),
    "swapoff": (168, 225), "swapon": (167, 224), "sysctl": (156, -1), "sysfs": (139, -1),
    "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97), "uselib": (134, -1),
    "userfaultfd": (323, 282), "ustat": (136, -1), "vhangup": (153, 58),
}  # fmt: skip

NEVER = (
    "acct", "add_key", "bpf", "clock_settime", "create_module", "delete_module", "finit_module",
    "get_mempolicy", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup",
    "ioperm", "iopl", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mbind",
    "migrate_pages", "move_pages", "nfsservctl", "perf_event_open", "query_module", "request_key",
    "set_mempolicy", "set_mempolicy_home_node", "settimeofday", "swapoff", "swapon", "sysctl",
    "sysfs", "syslog", "uselib", "userfaultfd", "ustat", "vhangup",
)  # fmt: skip
# Refused without the capability.
WITH = {
    "DAC_READ_SEARCH": ("open_by_handle_at",),
    "SYS_ADMIN": (
        "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr",
        "move_mount", "open_tree", "open_tree_attr", "pivot_root", "quotactl", "quotactl_fd",
        "setdomainname", "sethostname", "setns", "umount2", "unshare",
    ),
    "SYS_BOOT": ("reboot",),
    "SYS_CHROOT": ("chroot",),
    "SYS_PTRACE": (
        "kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace",
    ),
}  # fmt: skip

ALL_BITS = 0xFFFFFFFF
NEW_NAMESPACES = 0x7E020000  # CLONE_NEW*
TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # put characters into a terminal's input
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, ALL_BITS)  # as the engines: none weakens the loader
FAMILIES = (1, 2, 10, 16, 17)  # Unix, IPv4, IPv6, netlink, packet; AF_VSOCK reaches the hypervisor
SET_ID = 0o6000
CREATES = 0o20000100  # O_CREAT, and O_TMPFILE without O_DIRECTORY
# Call → its arguments of flags, which must create something for the mode to count, and mode.
MODES = {
    "chmod": (None, 1), "creat": (None, 1), "fchmod": (None, 1), "fchmodat": (None, 2),
    "fchmodat2": (None, 2), "mknod": (None, 1), "mknodat": (None, 2), "open": (1, 2),
    "openat": (2, 3),
}  # fmt: skip
FILE_CAPABILITIES = ("fsetxattr", "lsetxattr", "setxattr", "setxattrat")


def filter_for(plan: Plan, machine: str | None = None) -> bytes:
    """Return the program for a container. Raise OSError where calls cannot be filtered."""
    machine = machine or os.uname().machine
    kept = {name for name, number in NUMBERS.items() if number in plan.capabilities}
    refused: dict[str, tuple[int, tuple[Test, ...]]] = dict.fromkeys(NEVER, (errno.EPERM, ()))
    for capability, calls in WITH.items():
        if capability not in kept:
            refused |= dict.fromkeys(calls, (errno.EPERM, ()))
    if "SYS_ADMIN" not in kept:
        refused["clone"] = errno.EPERM, (Test(0, NEW_NAMESPACES, (0,)),)
        refused["clone3"] = (
            errno.ENOSYS,
            (),
        )  # its flags lie in memory; libraries fall back to clone
    refused["personality"] = errno.EPERM, (Test(0, ALL_BITS, PERSONALITIES),)
    refused["ioctl"] = errno.EPERM, (Test(1, ALL_BITS, (TIOCSTI, TIOCLINUX), among=True),)
    family = Test(0, ALL_BITS, FAMILIES)
    refused |= dict.fromkeys(("socket", "socketpair"), (errno.EAFNOSUPPORT, (family,)))
    if plan.leaves_files:
        for call, (flags, mode) in MODES.items():
            creates = () if flags is None else (Test(flags, CREATES, (0,)),)
            refused[call] = errno.EPERM, (*creates, Test(mode, SET_ID, (0,)))
        refused["openat2"] = errno.ENOSYS, ()  # its mode lies in memory; callers fall back
        if "SETFCAP" in kept:
            refused |= dict.fromkeys(FILE_CAPABILITIES, (errno.EPERM, ()))
    column = ("x86_64", "aarch64").index(machine) if machine in ("x86_64", "aarch64") else 0
    rules = [
        Rule(CALLS[call][column], *how) for call, how in refused.items() if CALLS[call][column] >= 0
    ]
    return program(rules, last=LAST, machine=machine)
