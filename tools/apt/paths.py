"""Where a Debian package's files end up in an image, and which of them stay out.

Paths are relative to the root, normalised, without a leading slash.
"""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.archive import links

# The directories that usr-merge turned into links (packages of Debian 12 still name the old ones).
# lib32 and the like belong to foreign architectures, which no lock here has.
MERGED_DIRECTORIES = ("bin", "sbin", "lib", "lib64")


def merged(path: str) -> str:
    """Return where `path` is in a usr-merged root: `lib/x` is `usr/lib/x`."""
    first, slash, _ = path.partition("/")
    return f"usr/{path}" if slash and first in MERGED_DIRECTORIES else path


def follow(path: str, link_of: Callable[[str], str | None]) -> str | None:
    """Return the path that `path` leads to, through links as the kernel follows them in a root.

    `link_of` tells where a link points, and None of all else. None for a loop (ELOOP).
    """

    def link(parts: Sequence[str]) -> str | None:
        if len(parts) == 1 and parts[0] in MERGED_DIRECTORIES:
            return f"usr/{parts[0]}"
        return link_of("/".join(parts))

    try:
        return "/".join(links.follow(path, link))
    except links.LoopError:
        return None


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
