"""Read damaged input for a while, and say what fell.

    bazel run //tools/fuzz -- --seconds 3600
    bazel run //tools/fuzz -- --reader deb --seed 1234 --count 200     # repeats a failure

Each round gives every reader `--count` inputs of a new seed. A failure is printed with the smallest
input found for it and the command that repeats it; the other readers go on. Exit code 0: nothing
fell, 1: something did, 2: the command line is wrong.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed

from tools.cli import ToolError, tool
from tools.fuzz.harness import Reader, attempt
from tools.fuzz.readers import READERS

_COUNT = 200
_FRAMES = 6
_LONGEST = 2000


@dataclass(frozen=True)
class Tally:
    """How many inputs a reader got, and how many of them it took for valid."""

    tried: int
    accepted: int


def run(reader: Reader, *, seed: int | None, count: int, scratch: Path) -> Tally:
    """Give a reader about `count` inputs; without a seed, always the same ones.

    Raise what the reader should not have raised, with the smallest input that does.
    """
    verdicts: collections.Counter[bool] = collections.Counter()

    def once(value: Any) -> None:
        verdicts[False] += 1
        verdicts[True] += attempt(reader, value, scratch=scratch)

    test: Callable[[], None] = given(reader.inputs)(once)
    test = settings(
        max_examples=count,
        database=None,
        deadline=None,  # the harness has its own
        derandomize=seed is None,
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )(test)
    try:
        (test if seed is None else with_seed(seed)(test))()
    except Exception as error:
        error.add_note(f"{verdicts[False]} inputs, {verdicts[True]} accepted")
        raise
    return Tally(tried=verdicts[False], accepted=verdicts[True])


@dataclass
class _Score:
    tried: int = 0
    accepted: int = 0
    failed: int = 0


def _round(
    names: list[str], scores: dict[str, _Score], *, seed: int, count: int, end: float
) -> None:
    """Give each reader its inputs, until the time `end` but for a first round."""
    for name in names:
        if scores[name].tried and time.monotonic() >= end:
            return
        with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
            try:
                found = run(READERS[name], seed=seed, count=count, scratch=Path(scratch))
            except Exception as error:  # noqa: BLE001 - whatever a reader raises is the finding
                scores[name].tried += 1
                scores[name].failed += 1
                _show(error, name, seed=seed, count=count)
                continue
        scores[name].tried += found.tried
        scores[name].accepted += found.accepted


def _show(error: Exception, name: str, *, seed: int, count: int) -> None:
    print(f"\n{name}: {type(error).__name__}: {str(error)[:_LONGEST]}")
    for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]:
        print(f"  {frame.filename}:{frame.lineno} {frame.name}")
    print("\n".join(getattr(error, "__notes__", []))[:_LONGEST])
    print(f"bazel run //tools/fuzz -- --reader {name} --seed {seed} --count {count}", flush=True)


@tool("fuzz", failure=2)
def main(argv: list[str] | None = None) -> int:
    """Run rounds until the time is over."""
    parser = argparse.ArgumentParser(prog="fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=0, help="how long (default: one round)")
    parser.add_argument("--reader", action="append", help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, help="of the first round (default: by chance)")
    parser.add_argument(
        "--count", type=int, default=_COUNT, help="inputs of a reader in a round (default: 200)"
    )
    flags = parser.parse_args(argv)
    names: list[str] = flags.reader or list(READERS)
    for name in names:
        if name not in READERS:
            raise ToolError(f"{name!r} is not a reader; there are {', '.join(sorted(READERS))}")
    end = time.monotonic() + flags.seconds
    scores = {name: _Score() for name in names}
    seed = random.getrandbits(32) if flags.seed is None else flags.seed
    while True:
        _round(names, scores, seed=seed, count=flags.count, end=end)
        seed += 1
        if time.monotonic() >= end:
            break
    for name, score in scores.items():
        print(f"{name}: {score.tried} inputs, {score.accepted} accepted, {score.failed} failed")
    print(f"all: {sum(score.tried for score in scores.values())} inputs, last seed {seed - 1}")
    return 1 if any(score.failed for score in scores.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
