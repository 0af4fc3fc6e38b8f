"""Linux capabilities by name, and which of them a container without an engine can be given.

A user namespace gives its processes every capability, but the kernel asks for many of them in the
machine's first namespace, where the container has none (capabilities(7), user_namespaces(7); the
numbers are those of uapi/linux/capability.h). Such a capability is refused by name: a test that
asked for it would otherwise fail later, for a reason it could not see.
"""

from __future__ import annotations

from collections.abc import Iterable

from tools.cli import ToolError

NUMBERS = {
    name: number
    for number, name in enumerate(
        (
            "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID",
            "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST",
            "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
            "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
            "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE",
            "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
            "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
        )
    )
}  # fmt: skip

# What the kernel looks for in the user namespace of the process, the file or the namespace at hand.
HONOURED = frozenset(
    (
        "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETPCAP",
        "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_OWNER", "SYS_CHROOT",
        "SYS_PTRACE", "SYS_ADMIN", "SYS_BOOT", "SETFCAP", "CHECKPOINT_RESTORE",
    )
)  # fmt: skip
NETWORK = frozenset(("NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"))
# Only one user id and one group id are mapped, so there are no others to switch to.
OTHER_IDS = frozenset(("CHOWN", "SETGID", "SETUID"))

_ENGINE = 'leave it out, or use an engine (driver = "docker" in a structure test)'


def normalize(name: str) -> str:
    """Return the name without CAP_ and in capitals, as engines accept it. Raise ToolError."""
    short = name.strip().upper().removeprefix("CAP_")
    if short not in NUMBERS and short != "ALL":
        raise ToolError(f"capability {name!r}: Linux has no such capability")
    return short


def granted(names: Iterable[str], *, privileged: bool, network: str) -> frozenset[int]:
    """Return the numbers of the capabilities that processes get.

    `privileged` is every capability that can be given, as rootless engines understand it: no
    device and no setting of the machine comes with it. Raise ToolError for a capability
    that the kernel would not honour in the container.
    """
    host_network = network == "host"
    if privileged:
        if host_network:
            raise ToolError(f"privileged: not possible on the host's network; {_ENGINE}")
        return frozenset(NUMBERS[name] for name in HONOURED)
    numbers = set()
    for given in names:
        name = normalize(given)
        if name == "ALL":
            reason = "it includes those that concern the whole machine; name the ones needed"
        elif name in OTHER_IDS:
            reason = "the container has one user id and one group id only"
        elif name not in HONOURED:
            reason = "it concerns the whole machine, not the container"
        elif name in NETWORK and host_network:
            reason = "the network is the host's, not the container's"
        else:
            numbers.add(NUMBERS[name])
            continue
        raise ToolError(f"capability {given!r}: cannot be given: {reason}; {_ENGINE}")
    return frozenset(numbers)
