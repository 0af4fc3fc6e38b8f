"""Lets the kernel run programs of another architecture: qemu-user, for one container only.

Since Linux 6.7 a user namespace has registrations of its own (binfmt_misc.rst): the emulator is
registered from inside it, with the flag F, so that the kernel opens it at once, where the container
will not be able to see it. Nothing on the machine changes, and with the container it is gone.
Before, only what the machine's administrator registered counts, and of that only what has the flag
F, since its path means nothing inside the container.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tools.cli import ToolError
from tools.linux import syscalls as linux
from tools.linux.architectures import ARCHITECTURES, BY_MACHINE

OWN_REGISTRATIONS = (6, 7)
_BINFMT = "binfmt_misc"


def native() -> str:
    """Return this machine's architecture, as images name it."""
    machine = platform.machine()
    return BY_MACHINE[machine].name if machine in BY_MACHINE else machine


def emulator_for(
    architecture: str, emulator: Path | None, *, proc: Path = Path("/proc")
) -> Path | None:
    """Return the emulator that has to be registered for an image, None when none has to be.

    Raise ToolError when the image's programs cannot run.
    """
    if architecture in ("", native()):
        return None
    problem = f"the image is for {architecture} and this machine is {native()}: its commands"
    if architecture not in ARCHITECTURES:
        raise ToolError(f'{problem} cannot run; static checks can (driver = "tar")')
    if emulator is not None and linux.kernel_version() >= OWN_REGISTRATIONS:
        return emulator
    if _registered(architecture, proc / "sys/fs" / _BINFMT):
        return None
    name = f"qemu-{ARCHITECTURES[architecture].machine}"
    release = os.uname().release
    lacking = (
        f"{name} is registered with the machine (Debian: apt-get install qemu-user-static)"
        if linux.kernel_version() < OWN_REGISTRATIONS
        else f'{name} is given (a structure test has it with platform = "linux/{architecture}")'
    )
    raise ToolError(
        f"{problem} need an emulator. They run when {lacking}; this kernel is {release}, and "
        "before 6.7 the emulator's registration is the administrator's. Without, only static "
        'checks can be made (driver = "tar")'
    )


def register(architecture: str, emulator: Path, stage: Path) -> None:
    """Register the emulator in the calling process's user namespace, where it has to be user 0.

    `stage` is an empty directory to mount on. The registration lasts as long as a descriptor that
    this leaves open, which an exec does not pass on. Raise OSError.
    """
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE)
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount(_BINFMT, str(stage), _BINFMT, flags)
    os.open(stage, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # A relative name keeps colons of the path out of the line, and the line short.
    os.chdir(emulator.resolve().parent)
    with open(stage / "register", "wb", buffering=0) as handle:
        handle.write(registration(architecture, emulator.resolve().name))


def _elf_header(architecture: str) -> bytes:
    """Return bytes 0 to 19 of a 64-bit little-endian executable (elf(5))."""
    machine = ARCHITECTURES[architecture].elf_number.to_bytes(2, "little")
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine


def registration(architecture: str, program: str) -> bytes:
    """Return the line that describes an architecture's programs, to be run by the file `program`.

    The mask lets pass any OS ABI, and position-independent executables too. P keeps argv[0], F
    opens the emulator.
    """
    magic = _elf_header(architecture)
    mask = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"

    def escaped(data: bytes) -> bytes:
        return b"".join(b"\\x%02x" % byte for byte in data)

    name = os.fsencode(program)
    return b":emulator:M::%s:%s:%s:PF" % (escaped(magic), escaped(mask), name)


def _registered(architecture: str, directory: Path) -> bool:
    """Return whether the machine has a usable registration for programs of this architecture."""
    header = _elf_header(architecture)
    for path in sorted(directory.glob("*")):
        try:
            text = path.read_text()
        except OSError:
            continue  # `register` can be written only.
        fields = dict(line.partition(" ")[::2] for line in text.splitlines())
        magic = bytes.fromhex(fields.get("magic", ""))
        mask = bytes.fromhex(fields.get("mask", "")) or b"\xff" * len(magic)
        matches = all(a & m == b & m for a, b, m in zip(header, magic, mask, strict=False))
        if "enabled" in fields and magic and matches and "F" in fields.get("flags:", ""):
            return True
    return False
