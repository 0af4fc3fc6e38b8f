"""Go's semantics: permission strings, os.Expand, RE2."""

from __future__ import annotations

import pytest

from tools.container.tree import Entry
from tools.structure_test.go_text import PatternError, expand, file_mode, search

# What Go's documentation of os.FileMode and its String method print, typed by hand.
KNOWN = [
    ("file", 0o644, "-rw-r--r--"),
    ("file", 0o000, "----------"),
    ("file", 0o777, "-rwxrwxrwx"),
    ("file", 0o4755, "urwxr-xr-x"),
    ("file", 0o2755, "grwxr-xr-x"),
    ("file", 0o6755, "ugrwxr-xr-x"),
    ("file", 0o1644, "trw-r--r--"),
    ("dir", 0o755, "drwxr-xr-x"),
    ("dir", 0o1777, "dtrwxrwxrwx"),
    ("dir", 0o2775, "dgrwxrwxr-x"),
    ("dir", 0o7777, "dugtrwxrwxrwx"),
    ("symlink", 0o777, "Lrwxrwxrwx"),
    ("char", 0o666, "Dcrw-rw-rw-"),
    ("block", 0o660, "Drw-rw----"),
    ("fifo", 0o600, "prw-------"),
    ("char", 0o1666, "Dctrw-rw-rw-"),
]


@pytest.mark.parametrize(("kind", "mode", "expected"), KNOWN)
def test_permissions_print_as_in_go(kind: str, mode: int, expected: str) -> None:
    assert file_mode(Entry(kind, mode)) == expected


@pytest.mark.parametrize("kind", ["file", "dir", "symlink", "char", "block", "fifo"])
def test_every_mode_prints_its_own_string_that_reads_back(kind: str) -> None:
    first = {"file": "", "dir": "d", "symlink": "L", "char": "Dc", "block": "D", "fifo": "p"}[kind]
    seen = set()
    for mode in range(0o10000):
        text = file_mode(Entry(kind, mode))
        letters, bits = text[:-9], text[-9:]
        assert int("".join("0" if bit == "-" else "1" for bit in bits), 2) == mode & 0o777
        assert ("u" in letters, "g" in letters, "t" in letters) == (
            bool(mode & 0o4000), bool(mode & 0o2000), bool(mode & 0o1000),
        )  # fmt: skip
        stripped = letters.translate(str.maketrans("", "", "ugt"))
        assert stripped in (first, "-" if not first and mode < 0o1000 else first)
        seen.add(text)
    assert len(seen) == 0o10000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A/${B}", "1/two"),
        ("$missing-", "-"),
        ("${missing}", ""),
        ("$A$A", "11"),
        ("$AB", ""),
        ("cost: 5$", "cost: 5$"),
        ("$ A", "$ A"),
        ("$/x", "$/x"),
        ("$$", ""),
        ("$1x", "x"),
        ("${}x", "x"),
        ("${A", "A"),
        ("${*}x", "x"),
        ("plain", "plain"),
        ("é$A", "é1"),
    ],
)
def test_variables_expand_as_in_go(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "two"}) == expected


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        ("a.c", "a\nc", False),
        ("(?s)a.c", "a\nc", True),
        ("^c$", "b\nc", False),
        ("(?m)^c$", "b\nc", True),
        ("c$", "c\n", False),
        (r"\pL+", "é", True),
        ("", "anything", True),
    ],
)
def test_patterns_match_as_in_go(pattern: str, text: str, found: bool) -> None:
    assert search(pattern, text) is found


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)"])
def test_what_re2_does_not_know_is_an_error(pattern: str) -> None:
    with pytest.raises(PatternError) as caught:
        search(pattern, "a")
    assert str(caught.value).startswith(f"the regular expression {pattern!r} is invalid: ")
