"""Extract from a lock what layers depend on: the timestamp and the excluded paths.

    python3 -m tools.apt.layer_policy --lock bookworm.lock.json --out policy.json

A layer built from the whole lock is rebuilt whenever any pin of any group changes. A layer built
from this file is rebuilt only when this file or one of its own packages changes.
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tools.archive.globs import Exclusions
from tools.cli import ToolError, tool


@dataclass(frozen=True)
class LayerPolicy:
    """`mtime` is in seconds since the epoch, and every entry of a layer has it."""

    mtime: int
    excluded_globs: tuple[str, ...]

    @property
    def exclusions(self) -> Exclusions:
        """The excluded paths, ready to be matched."""
        return Exclusions(self.excluded_globs)


def read_policy(path: Path) -> LayerPolicy:
    """Read a policy from a lock, or from the file that `main` made of one.

    Raise ToolError when a field is missing or has the wrong type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        mtime, excluded = content["mtime"], content["excluded_paths"]
        globs = tuple(rule["glob"] for rule in excluded)
    except (ValueError, KeyError, TypeError) as error:
        wanted = '{"mtime": seconds, "excluded_paths": [{"glob": ...}]}'
        raise ToolError(f"{path}: not a lock: {error!r}; wanted at least {wanted}") from error
    if not isinstance(mtime, int) or isinstance(mtime, bool) or mtime < 0:
        raise ToolError(f"{path}: mtime is {mtime!r}, not a number of seconds")
    return LayerPolicy(mtime=mtime, excluded_globs=globs)


def policy_json(policy: LayerPolicy) -> str:
    """Return the policy as JSON, in the lock's own terms."""
    rules = [{"glob": glob} for glob in policy.excluded_globs]
    content = {"mtime": policy.mtime, "excluded_paths": rules}
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


@tool("layer_policy")
def main(argv: list[str] | None = None) -> None:
    """Write the policy file of a lock."""
    parser = argparse.ArgumentParser(description="Extract from a lock what layers depend on.")
    parser.add_argument("--lock", type=Path, required=True, help="the lock of Debian packages")
    parser.add_argument("--out", type=Path, required=True, help="the policy file to write")
    parser.add_argument("--whole-packages", action="store_true", help="leave no path out")
    options = parser.parse_args(argv)
    policy = read_policy(options.lock)
    if options.whole_packages:
        policy = replace(policy, excluded_globs=())
    options.out.write_text(policy_json(policy), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
