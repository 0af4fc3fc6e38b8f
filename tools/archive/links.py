"""Follow the symbolic links of a file system that is described, not mounted, as the kernel would.

    follow("lib/x/libz.so", lambda parts: links.get("/".join(parts)))

Whoever has a file system (an image's layers, a set of packages, an archive's members) says where
its links point; nothing on this machine's disk is looked at. See path_resolution(7).
"""

from collections.abc import Callable, Sequence

from tools.cli import ToolError

MAX_LINKS = 40  # Linux's own limit of symbolic links in one resolution.


class LoopError(ToolError):
    """More links than the kernel follows (ELOOP)."""


def follow(
    path: str,
    link_of: Callable[[Sequence[str]], str | None],
    *,
    follow_last: bool = True,
) -> list[str]:
    """Return the components of what `path` leads to, below the root, without any link.

    `link_of` is asked about each step, by its components: it returns where a link points, None for
    anything else, and may raise. Without `follow_last`, a link at the end of `path` stays. Above
    the root is the root, as after chroot(2). Raise LoopError for too many links.
    """
    pending = components(path)[::-1]
    done: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        target = link_of(done)
        if target is None or not (pending or follow_last):
            continue
        links += 1
        if links > MAX_LINKS:
            raise LoopError(f"{path!r}: too many levels of symbolic links")
        done = [] if target.startswith("/") else done[:-1]
        pending += components(target)[::-1]
    return done


def components(path: str) -> list[str]:
    """Return the names in `path`, without empty ones and "."."""
    return [part for part in path.split("/") if part not in ("", ".")]
