"""seccomp: which system calls a decoder may make (seccomp(2), classic BPF).

What decoding never needs is refused: first of all, what reaches other processes, the network, or
more of the kernel. Calls that were added to Linux after `_NEWEST` do not exist for a decoder.
"""

import ctypes
import errno
import os

from app.sandbox.system import syscall

_SET_MODE_FILTER = 1
# Without this flag, kernels before 5.16 slow down everything that runs under a filter.
_SPEC_ALLOW = 1 << 2
KILL, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_SIZE = 8  # of an instruction
# Offsets in `struct seccomp_data`; arguments are 64-bit words, of which these are the low halves.
NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
LOAD, _RETURN = 0x20, 0x06
EQUAL, _GREATER, _GREATER_OR_EQUAL, _ANY_BIT = 0x15, 0x25, 0x35, 0x45

_NEWEST = 462  # mseal, of Linux 6.10
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# By name: the numbers on x86-64 and on arm64; None where there is no such call.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # The network.
    "socket": (41, 198), "socketpair": (53, 199), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "connect": (42, 203), "sendto": (44, 206), "sendmsg": (46, 211),
    "accept4": (288, 242), "sendmmsg": (307, 269),
    # Other processes: their memory, descriptors, limits and priorities, signals to them.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "kill": (62, 129), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "get_robust_list": (274, 100), "setpgid": (109, 154), "setsid": (112, 157),
    # New processes. Threads are allowed below, and so is one more program, as far as Landlock lets
    # it be executed: the first one has to be.
    "fork": (57, None), "vfork": (58, None), "execveat": (322, 281), "memfd_create": (319, 279),
    # Memory and queues that other processes of the same user have.
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190),
    "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186),
    "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # Namespaces and mounts.
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "statmount": (457, 457), "listmount": (458, 458),
    # Names and attributes of files, of which Landlock protects only some.
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None),
    "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "unlink": (87, None),
    "unlinkat": (263, 35), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None),
    "mknod": (133, None), "mknodat": (259, 33), "truncate": (76, 45), "creat": (85, None),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "inotify_init": (253, None), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263),
    # The kernel: parts with a history of faults, and the machine's state.
    "bpf": (321, 280), "perf_event_open": (298, 241), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "personality": (135, 92),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "swapon": (167, 224),
    "swapoff": (168, 225), "reboot": (169, 142), "sethostname": (170, 161),
    "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "syslog": (103, 116), "acct": (163, 89),
    "vhangup": (153, 58), "memfd_secret": (447, 447),
}  # fmt: skip
# They hide their arguments behind a pointer. C libraries fall back to the older calls below.
_ABSENT: dict[str, tuple[int | None, int | None]] = {
    "clone3": (435, 435),
    "openat2": (437, 437),
}


# By machine: AUDIT_ARCH_…, the column of the tables above, and the calls whose arguments count.
ARCHITECTURES = {
    "x86_64": (0xC000003E, 0),
    "aarch64": (0xC00000B7, 1),
}
_BY_ARGUMENT: dict[str, tuple[int | None, int | None]] = {
    "clone": (56, 220), "ioctl": (16, 29), "tgkill": (234, 131), "prlimit64": (302, 261),
    "openat": (257, 56), "open": (2, None),
}  # fmt: skip


def instruction(code: int, value: int, *, true: int = 0, false: int = 0) -> bytes:
    """Return a `struct sock_filter`; the jumps skip that many instructions."""
    return code.to_bytes(2, "little") + bytes((true, false)) + value.to_bytes(4, "little")


def give(result: int) -> bytes:
    """Return an instruction that decides."""
    return instruction(_RETURN, result)


def give_if(test: int, value: int, result: int) -> bytes:
    """Return instructions that decide if the loaded word passes a test."""
    return instruction(test, value, false=1) + give(result)


def _argument(call: int, position: int, rest: bytes) -> bytes:
    """Return what decides by an argument of a call; `rest` always decides."""
    load = instruction(LOAD, _ARGUMENTS + 8 * position)
    return instruction(EQUAL, call, false=len(load + rest) // _SIZE) + load + rest


def program(machine: str, *, pid: int, writes: bool) -> bytes:
    """Return the filter of the process `pid`; unless it `writes`, files are opened for reading."""
    audit, column = ARCHITECTURES[machine]
    refused, absent = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
    allow, refuse = give(ALLOW), give(refused)
    reading = b"" if writes else give_if(_ANY_BIT, _WRITING, refused)
    by_argument = {
        "clone": (0, give_if(_ANY_BIT, _CLONE_THREAD, ALLOW) + refuse),
        "tgkill": (0, give_if(EQUAL, pid, ALLOW) + refuse),
        "prlimit64": (0, give_if(EQUAL, pid, ALLOW) + give_if(EQUAL, 0, ALLOW) + refuse),
        "ioctl": (1, b"".join(give_if(EQUAL, it, refused) for it in _TERMINAL_INPUT) + allow),
        "openat": (2, reading + allow),
        "open": (1, reading + allow),
    }
    code = instruction(LOAD, _ARCHITECTURE) + instruction(EQUAL, audit, true=1) + give(KILL)
    code += instruction(LOAD, NUMBER)
    code += give_if(_GREATER_OR_EQUAL, _X32, KILL) + give_if(_GREATER, _NEWEST, absent)
    for name, (position, rest) in by_argument.items():
        number = _BY_ARGUMENT[name][column]
        if number is not None:
            code += _argument(number, position, rest)
    for table, result in (_ABSENT, absent), (REFUSED, refused):
        for numbers in table.values():
            number = numbers[column]
            if number is not None:
                code += give_if(EQUAL, number, result)
    return code + allow


def install(code: bytes) -> None:
    """Filter the system calls of this thread and its future children. Raise OSError."""
    # struct sock_fprog: a count, padding, a pointer.
    buffer = ctypes.create_string_buffer(code, len(code))
    header = (len(code) // _SIZE).to_bytes(8, "little")
    header += ctypes.addressof(buffer).to_bytes(8, "little")
    number = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
    syscall(number, _SET_MODE_FILTER, _SPEC_ALLOW, header)


def restrict(*, writes: bool) -> bool:
    """Install the filter for this process; return whether it is in force."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        return False
    try:
        install(program(machine, pid=os.getpid(), writes=writes))
    except OSError:
        return False
    return True
