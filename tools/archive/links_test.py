"""Links are followed as the kernel follows them: the kernel itself is asked as well."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.archive.links import LoopError, follow

LINKS = {
    "lib": "usr/lib",
    "usr/lib/alias": "real",
    "usr/lib/up": "../../etc/x",
    "usr/lib/out": "../../../../etc/x",
    "absolute": "/lib/alias",
    "loop": "again",
    "again": "loop",
}


def link_of(parts: Sequence[str]) -> str | None:
    return LINKS.get("/".join(parts))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/lib/alias/x", "usr/lib/real/x"),
        ("lib/up", "etc/x"),
        ("lib/out", "etc/x"),
        ("usr/./lib//real/../alias/x", "usr/lib/real/x"),
        ("../../etc/x", "etc/x"),
        ("absolute/x", "usr/lib/real/x"),
        ("absolute", "usr/lib/real"),
        ("nowhere/x", "nowhere/x"),
        ("", ""),
        ("/..", ""),
    ],
)
def test_a_path_leads_where_the_kernel_would_go(path: str, expected: str) -> None:
    assert "/".join(follow(path, link_of)) == expected


def test_the_last_link_stays_on_request() -> None:
    assert follow("lib/alias", link_of, follow_last=False) == ["usr", "lib", "alias"]
    assert follow("absolute/alias", link_of, follow_last=False) == ["usr", "lib", "real", "alias"]


def test_a_loop_is_an_error() -> None:
    with pytest.raises(LoopError, match="'loop/x': too many levels of symbolic links"):
        follow("loop/x", link_of)


@pytest.mark.parametrize(("count", "fits"), [(40, True), (41, False)])
def test_as_many_links_are_followed_as_by_linux(count: int, fits: bool) -> None:
    def chain(parts: Sequence[str]) -> str | None:
        number = int(parts[0])
        return str(number - 1) if number else None

    if fits:
        assert follow(str(count), chain) == ["0"]
    else:
        with pytest.raises(LoopError):
            follow(str(count), chain)


def test_an_error_of_the_file_system_stays_what_it_is() -> None:
    def broken(parts: Sequence[str]) -> str | None:
        raise KeyError(parts[-1])

    with pytest.raises(KeyError, match="a"):
        follow("a/b", broken)


_NAMES = st.sampled_from(["a", "b", "c", ".."])
_PATHS = st.lists(_NAMES, min_size=1, max_size=5).map("/".join)


@given(links=st.dictionaries(st.sampled_from(["a/b", "a/c", "b/a", "c"]), _PATHS), path=_PATHS)
@settings(max_examples=150, deadline=None)
def test_random_links_resolve_as_in_the_kernel(
    links: dict[str, str], path: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    for name in ("a", "b"):
        (root / name).mkdir()
    for name, target in links.items():
        (root / name).symlink_to(target)
    try:
        found = "/".join(follow(path, lambda parts: links.get("/".join(parts))))
    except LoopError:
        assert _real(root, path) is None
        return
    real = _real(root, path)
    # Only the kernel minds ".." behind a directory that does not exist, or goes on above `root`.
    if real is not None and real.is_relative_to(root):
        assert real == root / found


def _real(root: Path, path: str) -> Path | None:
    try:
        return Path(os.path.realpath(root / path, strict=True))
    except OSError:
        return None
