"""Run a command on a kernel that lacks something: `python3 without.py landlock,seccomp COMMAND…`.

A filter answers the system calls with ENOSYS, as an old kernel does.
"""

import errno
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))

from app.sandbox import seccomp, system

# On x86-64 and arm64.
_NUMBERS: dict[str, dict[str, tuple[int, ...]]] = {
    "landlock": {"x86_64": (444, 445, 446), "aarch64": (444, 445, 446)},
    "seccomp": {"x86_64": (317,), "aarch64": (277,)},
}


def main() -> None:
    """Install the filter and become the command."""
    missing, *command = sys.argv[1:]
    code = seccomp.instruction(seccomp.LOAD, seccomp.NUMBER)
    for name in filter(None, missing.split(",")):
        for number in _NUMBERS[name][os.uname().machine]:
            code += seccomp.give_if(seccomp.EQUAL, number, seccomp.ERRNO | errno.ENOSYS)
    system.forbid_new_privileges()
    seccomp.install(code + seccomp.give(seccomp.ALLOW))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
