"""Programs of another architecture: emulated for real, and what is said when that cannot be."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tools.cli import ToolError
from tools.container.config import User
from tools.container.emulator import (
    emulator_for,
    native,
    registration,
)
from tools.container.plan import Spec
from tools.container.run import Container, ContainerError
from tools.image.cache import Cache
from tools.image.images_for_test import Member, directory, write_image
from tools.linux import syscalls as linux
from tools.linux.architectures import ARCHITECTURES

OTHER = {"amd64": "arm64", "arm64": "amd64"}[native()]
EMULATOR = Path(os.environ["EMULATOR"]).absolute()

# write(1, "other\n", 6) and exit(0).
CODE = {
    "arm64": struct.pack(
        "<8I",
        0xD2800020,  # mov x0, 1
        0x100000E1,  # adr x1, 28 bytes on
        0xD28000C2,  # mov x2, 6
        0xD2800808,  # mov x8, 64
        0xD4000001,  # svc
        0xD2800000,  # mov x0, 0
        0xD2800BA8,  # mov x8, 93
        0xD4000001,  # svc
    ),
    "amd64": bytes.fromhex(
        "b801000000"  # mov eax, 1
        "bf01000000"  # mov edi, 1
        "488d3510000000"  # lea rsi, [rip + 16]
        "ba06000000"  # mov edx, 6
        "0f05"  # syscall
        "b83c000000"  # mov eax, 60
        "31ff"  # xor edi, edi
        "0f05"  # syscall
    ),
}


def program(architecture: str) -> bytes:
    """A static executable that prints "other" (elf(5)): one header, one segment."""
    code = CODE[architecture] + b"other\n"
    address, start = 0x400000, 64 + 56
    machine = ARCHITECTURES[architecture].elf_number
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01", 2, machine, 1, address + start, 64, 0, 0,
        64, 56, 1, 0, 0, 0,
    )  # fmt: skip
    size = start + len(code)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, address, address, size, size, 0x1000)
    return header + segment + code


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    folder = tmp_path_factory.mktemp("image")
    members = [
        Member("other", program(OTHER), mode=0o755),
        Member("native", program(native()), mode=0o755),
        directory("proc"),
    ]
    image = write_image(folder / "layout", [members], {})
    with Cache(folder / "cache").rootfs(image.layers) as rootfs:
        return Spec(rootfs=rootfs, user=User(1000, 1000), architecture=OTHER, emulator=EMULATOR)


def test_programs_of_both_architectures_run_whoever_the_user_is(spec: Spec) -> None:
    for user in (User(1000, 1000), User(0, 0)):
        for capabilities in ((), ("SYS_ADMIN",)):
            changed = Spec(
                rootfs=spec.rootfs, user=user, architecture=OTHER, emulator=EMULATOR,
                capabilities=capabilities,
            )  # fmt: skip
            with Container(changed) as container:
                for name in ("/other", "/native"):
                    result = container.run([name], env={}, timeout=60)
                    assert (result.stdout, result.exit_code) == (b"other\n", 0)


def test_registration_is_invisible_outside_the_container(spec: Spec) -> None:
    with Container(spec) as container:
        assert container.run(["/other"], env={}, timeout=60).exit_code == 0
        with Container(Spec(rootfs=spec.rootfs, user=spec.user)) as without:
            result = without.run(["/native"], env={}, timeout=60)
            assert result.stdout == b"other\n"
    with pytest.raises(OSError, match="Exec format error"):
        subprocess.run([spec.rootfs.path / "other"], check=False, timeout=10)


def test_what_the_machine_has_registered_is_used_when_no_emulator_is_given(spec: Spec) -> None:
    script = f"""
import os, sys
from pathlib import Path
from tools.linux import syscalls as linux
from tools.linux.namespaces import unshare_as
from tools.image.cache import Rootfs
from tools.container.emulator import register
from tools.container.plan import Spec
from tools.container.run import Container
from tools.container.config import User
from tools.image.tree import Tree
unshare_as(0, 0, linux.CLONE_NEWNS)
register({OTHER!r}, Path({str(EMULATOR)!r}), Path("/proc/sys/fs/binfmt_misc"))
folder = Path({str(spec.rootfs.path.parent)!r})
rootfs = Rootfs(folder / "rootfs", Tree.from_json((folder / "tree.json").read_text()))
with Container(Spec(rootfs=rootfs, user=User(1000, 1000), architecture={OTHER!r})) as container:
    print(container.run(["/other"], env={{}}, timeout=60).stdout.decode().strip())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("other\n", "")


def test_without_an_emulator_the_error_says_what_would_help(spec: Spec) -> None:
    with pytest.raises(ToolError) as caught:
        Container(Spec(rootfs=spec.rootfs, user=spec.user, architecture=OTHER))
    assert str(caught.value).startswith(
        f"the image is for {OTHER} and this machine is {native()}: its commands need an emulator. "
        "They run when qemu-"
    )
    assert f'is given (a structure test has it with platform = "linux/{OTHER}")' in str(
        caught.value
    )


def test_an_older_kernel_is_named_and_needs_the_administrators_registration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(linux, "kernel_version", lambda: (6, 6))
    with pytest.raises(ToolError, match=r"before 6\.7 the emulator's registration"):
        emulator_for(OTHER, EMULATOR, proc=tmp_path)
    folder = tmp_path / "sys/fs/binfmt_misc"
    folder.mkdir(parents=True)
    for text, usable in (
        ("enabled\ninterpreter /q\nflags: POCF\noffset 0\nmagic {}\n", True),
        ("disabled\ninterpreter /q\nflags: POCF\noffset 0\nmagic {}\n", False),
        ("enabled\ninterpreter /q\nflags: OC\noffset 0\nmagic {}\n", False),
        ("enabled\n", False),
    ):
        magic = program(OTHER)[:20].hex()
        (folder / "qemu-other").write_text(text.format(magic))
        if usable:
            assert emulator_for(OTHER, EMULATOR, proc=tmp_path) is None
        else:
            with pytest.raises(ToolError, match="registered with the machine"):
                emulator_for(OTHER, EMULATOR, proc=tmp_path)


def test_unknown_architectures_are_refused_and_the_native_one_needs_no_emulator() -> None:
    with pytest.raises(ToolError, match="the image is for s390x and this machine is"):
        emulator_for("s390x", EMULATOR)
    assert emulator_for(native(), EMULATOR) is None
    assert emulator_for("", None) is None


def test_a_registration_matches_executables_of_its_architecture_only() -> None:
    _, name, kind, offset, magic, mask, interpreter, flags = registration("arm64", "q").split(b":")
    assert (name, kind, offset, interpreter, flags) == (b"emulator", b"M", b"", b"q", b"PF")
    wanted, bits = (bytes.fromhex(text.replace(b"\\x", b"").decode()) for text in (magic, mask))

    def matches(header: bytes) -> bool:
        return all(a & b == c & b for a, b, c in zip(header, bits, wanted, strict=False))

    assert matches(program("arm64"))
    assert not matches(program("amd64"))
    independent = bytearray(program("arm64"))
    independent[16] = 3
    assert matches(bytes(independent))


def test_missing_emulator_is_named(spec: Spec, tmp_path: Path) -> None:
    missing = Spec(
        rootfs=spec.rootfs, user=spec.user, architecture=OTHER, emulator=tmp_path / "none"
    )
    with pytest.raises(
        ContainerError, match=r"cannot register the emulator .*/none: .*No such file"
    ):
        Container(missing).__enter__()
