"""Signals as images write them."""

from __future__ import annotations

import re

import pytest

from tools.cli import ToolError
from tools.linux.signals import parse_signal


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("TERM", 15),
        ("sigterm", 15),
        ("Term", 15),
        ("15", 15),
        ("+15", 15),
        ("015", 15),
        ("SIGSTKFLT", 16),
        ("SIGPOLL", 29),
        ("SIGRTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("rtmin+3", 37),
        ("RTMIN+15", 49),
        ("RTMAX-14", 50),
        ("SIGRTMAX-1", 63),
        ("RTMAX", 64),
        ("64", 64),
    ],
)
def test_a_signal_is_read_by_dockers_rules(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "SIG", "HALT", "SIGSIGTERM", "SIG15", "0", "-15", "65", "1.5", " TERM", "RTMIN+0",
     "RTMIN+16", "RTMAX-15", "RTMAX+1", "RTMIN-1", "RTMIN+03", "\u0661"],
)  # fmt: skip
def test_what_is_no_signal_is_an_error_that_says_what_is(text: str) -> None:
    cause = (
        f"{text!r} is not a signal; write a name such as 'SIGTERM' or 'SIGRTMIN+3', or a number "
        "from 1 to 64"
    )
    with pytest.raises(ToolError, match=f"^{re.escape(cause)}$"):
        parse_signal(text)
