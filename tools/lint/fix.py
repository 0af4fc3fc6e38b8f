"""Format every Python file and apply the fixes that ruff can make by itself.

    tools/bazelw run //tools/lint:fix

`//tools/lint:lint_test` lists what is left to do by hand.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Change the files in place; return ruff's exit code, 0 when nothing is left to do."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ruff", type=Path, required=True, help="the program, below the runfiles")
    parser.add_argument("--config", type=Path, required=True, help="its configuration")
    args = parser.parse_args(argv)
    workspace = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    if workspace is None:
        print("fix: run this as `tools/bazelw run //tools/lint:fix`", file=sys.stderr)
        return 2
    flags = [f"--config={args.config.resolve()}", "--no-cache", "backend", "third_party", "tools"]
    codes = [
        subprocess.run([str(args.ruff.resolve()), *command, *flags], cwd=workspace, check=False)
        for command in (["check", "--fix"], ["format"])
    ]
    return max(done.returncode for done in codes)


if __name__ == "__main__":
    sys.exit(main())
