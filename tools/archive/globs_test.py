"""Globs judged in order: the last one that matches decides."""

import pytest

from tools.archive.globs import Exclusions


@pytest.mark.parametrize(
    ("glob", "path", "left_out"),
    [
        ("usr/share/man/**", "usr/share/man/man1/ls.1.gz", True),
        ("usr/share/man/**", "usr/share/man", False),
        ("usr/share/man/**", "usr/share/manners/x", False),
        ("usr/lib/*.a", "usr/lib/libx.a", True),
        ("usr/lib/*.a", "usr/lib/deep/libx.a", False),
        ("usr/lib/**/*.a", "usr/lib/libx.a", True),
        ("usr/lib/**/*.a", "usr/lib/very/deep/libx.a", True),
        ("usr/bin/ffpla?", "usr/bin/ffplay", True),
        ("usr/bin/x[0-9]", "usr/bin/x7", True),
        ("usr/bin/x[!0-9]", "usr/bin/x7", False),
        ("usr/bin/x[!0-9]", "usr/bin/xy", True),
        ("usr/lib/libcaca++.so*", "usr/lib/libcaca++.so.0", True),
        ("usr/bin/openssl", "usr/bin/openssl2", False),
        ("usr/bin/openssl", "opt/usr/bin/openssl", False),
    ],
)
def test_a_glob_matches_the_whole_path(glob: str, path: str, left_out: bool) -> None:
    assert Exclusions((glob,)).match(path) is left_out


def test_the_last_glob_that_matches_decides() -> None:
    keep = Exclusions(("usr/share/doc/**", "!usr/share/doc/*/copyright"))
    assert not keep.match("usr/share/doc/libc6/copyright")
    assert keep.match("usr/share/doc/libc6/changelog.gz")
    assert Exclusions(("!a/b", "a/**")).match("a/b")


def test_without_globs_everything_stays() -> None:
    assert not Exclusions(()).match("usr/bin/env")


@pytest.mark.parametrize("glob", ["usr/[", "usr/[]", "usr/[!]"])
def test_a_broken_glob_is_refused_and_quoted(glob: str) -> None:
    with pytest.raises(ValueError, match="without content") as caught:
        Exclusions((glob,)).match("usr/x")
    assert repr(glob) in str(caught.value)
