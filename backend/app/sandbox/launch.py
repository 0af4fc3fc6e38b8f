"""Start a program with no more rights than decoding needs.

    python3 -I -S -B -c CODE ROOT STATUS [--limit=KIND:VALUE …] [--read=PATH …] [--write=PATH …]
        [--execute=PATH …] -- PROGRAM [ARGUMENT …]

STATUS is a descriptor that the program does not inherit. The names of the restrictions in force are
written to it, then "errno N" if the program could not be started. Without PROGRAM, that is all.

This runs before every decoder, so it imports nothing that takes time: no dataclasses, no argparse.
"""

import os
import sys

from app.sandbox import landlock, seccomp, system

# Libraries and their loader; where random numbers come from; how many processors there are.
_READ = (
    "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache",
    "/dev/null", "/dev/urandom", "/sys/devices/system/cpu", "/sys/devices/system/node",
)  # fmt: skip
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")


def main() -> None:
    """Read the arguments, give up rights, become the program."""
    status, *options = sys.argv[1:]
    end = options.index("--")
    options, command = options[:end], options[end + 1 :]
    rules = [(landlock.READ, path) for path in _READ]
    rules += [(landlock.EXECUTE, path) for path in _LOADERS]
    limits, writes = [], False
    for option in options:
        name, _, value = option.partition("=")
        if name == "--limit":
            kind, _, bound = value.partition(":")
            limits.append((int(kind), int(bound)))
        elif name == "--execute":
            rules.append((landlock.EXECUTE | landlock.READ_FILE, value))
        else:
            writes = writes or name == "--write"
            rules.append((landlock.WRITE if name == "--write" else landlock.READ, value))
    descriptor = int(status)
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - no keyword is possible
    for resource, highest in limits:
        system.limit(resource, highest)
    os.write(descriptor, " ".join(give_up(rules, writes=writes)).encode())
    if not command:
        return
    system.restore_signals()
    try:
        # The first word is the path, the second the name by which the program knows itself.
        os.execv(command[0], command[1:])
    except OSError as error:
        os.write(descriptor, f" errno {error.errno}".encode())
    os._exit(127)


def give_up(rules: list[tuple[int, str]], *, writes: bool) -> list[str]:
    """Give up rights for good; return the names of the restrictions in force."""
    found = []
    for name, step in (
        ("no-new-privileges", system.forbid_new_privileges),
        ("no-capabilities", system.drop_capabilities),
    ):
        try:
            step()
        except OSError:
            continue
        found.append(name)
    abi = landlock.restrict(rules)
    if abi:
        found.append(f"landlock-abi-{abi}")
    if seccomp.restrict(writes=writes):
        found.append("seccomp")
    return found


if __name__ == "__main__":
    main()
