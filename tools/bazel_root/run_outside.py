"""Makes `bazelw run` start its program on the host, as a Bazel of the user's own would.

What is built is started for the user: it must find docker or podman, credential helpers, apt, and
whatever else is installed, and the private root hides those. So Bazel, inside, only writes a script
(`--script_path`), and this process, which never entered the root, becomes that script. Between the
two, signals of the terminal are Bazel's: it gets them because it is in the same process group.
A test is an exception: it needs nothing of the host, but Bazel's own test runner, which is inside.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

_OPTION = "--script_path"
_TEST_RUNNER = "external/bazel_tools/tools/test/test-setup.sh"
_TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGQUIT)


def script_wanted(argv: Sequence[str]) -> bool:
    """Tells whether these arguments of Bazel start a program and leave the script to us."""
    command = next((word for word in argv if not word.startswith("-")), "")
    options = list(argv[: list(argv).index("--")]) if "--" in argv else list(argv)
    given = any(word == _OPTION or word.startswith(_OPTION + "=") for word in options)
    asks = any(word in ("--help", "-h") for word in options)
    return command == "run" and not given and not asks


def with_script(argv: Sequence[str], script: Path) -> list[str]:
    """Returns the arguments with the option that makes Bazel write `script`."""
    at = list(argv).index("run") + 1
    return [*argv[:at], f"{_OPTION}={script}", *argv[at:]]


def run_outside(
    argv: Sequence[str], *, scratch: Path, become_bazel: Callable[[list[str]], None]
) -> int:
    """Has Bazel write the script in a child and then becomes the script.

    Returns Bazel's exit code when there is nothing to run (128 + N when signal N ended it).
    `become_bazel` is called in the child, for a test here too, and returns only by an exception.
    """
    with tempfile.TemporaryDirectory(prefix="run-", dir=scratch) as directory:
        script = Path(directory) / "program"
        child = os.fork()
        if child == 0:
            become_bazel(with_script(argv, script))
        before = {which: signal.signal(which, signal.SIG_IGN) for which in _TERMINAL_SIGNALS}
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for which, handler in before.items():
            signal.signal(which, handler)
        if code != 0 or not script.exists():
            return code if code >= 0 else 128 - code
        text = script.read_text(encoding="utf-8")
    if _TEST_RUNNER in text:
        become_bazel(list(argv))
    return _become(text)


def _become(text: str) -> NoReturn:
    # Python handles SIGINT itself and ignores SIGPIPE; the program is to find the defaults.
    for which in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(which, signal.SIG_DFL)
    os.execv("/bin/sh", ["sh", "-c", text])
