"""What differs between the processor architectures that images are built for: one table.

    ARCHITECTURES["arm64"].triplet          # "aarch64-linux-gnu"

Python 3.9 and the standard library alone.
"""

from __future__ import annotations

from typing import NamedTuple


class Architecture(NamedTuple):  # not a dataclass: bazelw imports this, and those cost 7 ms a start
    """One architecture.

    name: Debian's, which is also OCI's and Go's.
    machine: the kernel's (uname(2)), which is also the wheels' and qemu's.
    triplet: Debian's, as in /usr/lib/<triplet>.
    elf_machine, elf_number: e_machine of its ELF objects, by name and by number (elf(5)).
    loader: the dynamic linker that its programs ask for (its psABI).
    platforms: what ld.so puts for $PLATFORM; glibc 2.36 and older name some Intel processors.
    cache_flags: what marks its libraries in ld.so.cache (glibc's FLAG_X8664_LIB64 and others).
    merged: the top-level directories that usr-merge turned into links.
    oldest_glibc: minor version of glibc 2 that its oldest manylinux tag stands for (PEP 600).
    pivot_root: number of that system call, for which the C library has no function.
    """

    name: str
    machine: str
    triplet: str
    elf_machine: str
    elf_number: int
    loader: str
    platforms: tuple[str, ...]
    cache_flags: int
    merged: tuple[str, ...]
    oldest_glibc: int
    pivot_root: int


ARCHITECTURES = {
    each.name: each
    for each in (
        Architecture(
            name="amd64",
            machine="x86_64",
            triplet="x86_64-linux-gnu",
            elf_machine="EM_X86_64",
            elf_number=62,
            loader="/lib64/ld-linux-x86-64.so.2",
            platforms=("x86_64", "haswell", "xeon_phi"),
            cache_flags=0x0300,
            merged=("bin", "lib", "lib64", "sbin"),  # the ABI names a loader in lib64
            oldest_glibc=5,
            pivot_root=155,
        ),
        Architecture(
            name="arm64",
            machine="aarch64",
            triplet="aarch64-linux-gnu",
            elf_machine="EM_AARCH64",
            elf_number=183,
            loader="/lib/ld-linux-aarch64.so.1",
            platforms=("aarch64",),
            cache_flags=0x0A00,
            merged=("bin", "lib", "sbin"),
            oldest_glibc=17,
            pivot_root=41,
        ),
    )
}
BY_MACHINE = {each.machine: each for each in ARCHITECTURES.values()}
BY_ELF_MACHINE = {each.elf_machine: each for each in ARCHITECTURES.values()}
