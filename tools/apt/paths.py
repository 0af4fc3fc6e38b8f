"""Where a Debian package's files end up in an image.

Paths are relative to the root, normalised, without a leading slash.
"""

from collections.abc import Callable, Sequence

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
