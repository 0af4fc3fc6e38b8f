"""The table of architectures agrees with the machine this runs on, and with itself."""

import os
import struct
import sysconfig
from pathlib import Path

from tools.linux.architectures import ARCHITECTURES, BY_ELF_MACHINE, BY_MACHINE


def test_the_row_of_this_machine_is_true() -> None:
    here = BY_MACHINE[os.uname().machine]
    assert sysconfig.get_config_var("MULTIARCH") == here.triplet
    program = Path("/proc/self/exe").read_bytes()
    assert struct.unpack_from("<H", program, 18)[0] == here.elf_number
    assert here.loader.encode() + b"\0" in program


def test_every_row_is_found_by_each_of_its_names() -> None:
    for name, each in ARCHITECTURES.items():
        assert each.name == name
        assert BY_MACHINE[each.machine] is each
        assert BY_ELF_MACHINE[each.elf_machine] is each
        assert each.triplet == f"{each.machine}-linux-gnu"
        assert each.platforms[0] == each.machine
        assert each.loader.split("/")[1] in each.merged
