"""Make `bazelw run` start its program on the host, as a Bazel of the user's own would.

The program needs docker or podman, credential helpers, apt and whatever else is installed, and
the private root hides those. So Bazel, inside, only writes a script
(`--script_path`), and this process, which never entered the root, becomes that script. In the
meantime Bazel gets the terminal's signals, because it is in the same process group.
Tests are an exception: they need Bazel's own test runner, which is inside, and nothing of the host.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

_OPTION = "--script_path"
_TEST_RUNNER = "external/bazel_tools/tools/test/test-setup.sh"
_TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGQUIT)


def script_wanted(argv: Sequence[str]) -> bool:
    """Return whether these arguments start a program and do not ask for the script themselves."""
    command = next((word for word in argv if not word.startswith("-")), "")
    options = list(argv[: list(argv).index("--")]) if "--" in argv else list(argv)
    given = any(word == _OPTION or word.startswith(_OPTION + "=") for word in options)
    asks = any(word in ("--help", "-h") for word in options)
    return command == "run" and not given and not asks


def with_script(argv: Sequence[str], script: Path) -> list[str]:
    """Return the arguments with the option that makes Bazel write `script`."""
    at = list(argv).index("run") + 1
    return [*argv[:at], f"{_OPTION}={script}", *argv[at:]]


def run_outside(
    argv: Sequence[str], *, scratch: Path, become_bazel: Callable[[list[str]], None]
) -> int:
    """Have Bazel write the script in a child process, then become the script.

    Return Bazel's exit code if there is nothing to run (128 + N if signal N ended it).
    `become_bazel` is called in the child, for a test here too, and returns only by an exception.
    """
    import tempfile  # here: launcher.py imports this module at every start

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
