"""Judge paths by an ordered list of globs: what is left out of an image, and what stays after all.

Paths are relative to the root, normalised, without a leading slash.
"""

import functools
import re
from dataclasses import dataclass


@functools.cache
def _pattern(glob: str) -> re.Pattern[str]:
    """Translate a glob: `*`, `?` and `[…]` stay within one name, `**` spans any number of names."""
    out = []
    rest = glob
    while rest:
        if rest.startswith("**/"):
            out.append("(?:[^/]+/)*")
            rest = rest[3:]
        elif rest.startswith("**"):
            out.append(".+")
            rest = rest[2:]
        elif rest[0] == "*":
            out.append("[^/]*")
            rest = rest[1:]
        elif rest[0] == "?":
            out.append("[^/]")
            rest = rest[1:]
        elif rest[0] == "[":
            inside, closing, rest = rest[1:].partition("]")
            if not closing or not inside.strip("!"):
                raise ValueError(f"glob {glob!r}: '[' without content and ']'")
            negated = inside.startswith("!")
            out.append(f"[{'^/' if negated else ''}{re.escape(inside.lstrip('!'))}]")
            # re.escape also escapes the '-' of a range.
            out[-1] = out[-1].replace(r"\-", "-")
        else:
            out.append(re.escape(rest[0]))
            rest = rest[1:]
    return re.compile("".join(out))


@dataclass(frozen=True)
class Exclusions:
    """A lock's excluded_paths, judged in order: the last glob that matches a path decides.

    A glob that begins with `!` keeps what an earlier one left out. A glob must match the whole of
    a usr-merged path; `a/**` is everything below `a`, not `a` itself.
    """

    globs: tuple[str, ...]

    def match(self, path: str) -> bool:
        """Return whether the file, link or directory at `path` (usr-merged) stays out."""
        for glob in reversed(self.globs):
            keep = glob.startswith("!")
            if _pattern(glob.removeprefix("!")).fullmatch(path):
                return not keep
        return False
