import pytest

from tools.apt.paths import follow, merged


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("bin/sh", "usr/bin/sh"),
        ("lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("usr/bin/env", "usr/bin/env"),
        ("bin", "bin"),
        ("libexec/x", "libexec/x"),
        ("etc/passwd", "etc/passwd"),
    ],
)
def test_paths_move_below_usr_as_usr_merge_moves_them(path: str, expected: str) -> None:
    assert merged(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/lib/alias/x", "usr/lib/real/x"),
        ("usr/lib/up", "etc/x"),
        ("usr/./lib//real/../alias/x", "usr/lib/real/x"),
        ("../../etc/x", "etc/x"),
        ("absolute/x", "usr/lib/real/x"),
        ("nowhere/x", "nowhere/x"),
        ("loop", None),
        ("bin", "usr/bin"),
    ],
)
def test_links_are_followed_within_the_root(path: str, expected: str | None) -> None:
    links = {
        "usr/lib/alias": "real",
        "usr/lib/up": "../../etc/x",
        "absolute": "/lib/alias",
        "loop": "again",
        "again": "loop",
    }
    assert follow(path, links.get) == expected
