"""WWW-Authenticate headers as registries write them, and where credentials must not go."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.registry.authorization import Authorization, Challenge, parse_challenge
from tools.registry.credentials import Credentials
from tools.registry.errors import RegistryError
from tools.registry.transport import Options, Transport


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ('Basic realm="x"', Challenge("basic", "x")),
        (
            'Bearer realm="https://a/t",service="s.io",scope="repository:a,b:pull"',
            Challenge("bearer", "https://a/t", "s.io"),
        ),
        ("bearer realm=https://a/t, service=s", Challenge("bearer", "https://a/t", "s")),
        ('Basic realm="x", Bearer realm="https://a/t"', Challenge("bearer", "https://a/t")),
        ('Negotiate, Basic realm="x"', Challenge("basic", "x")),
        ("Negotiate", None),
        ("Negotiate YWJj==, Bearer realm=https://a/t", Challenge("bearer", "https://a/t")),
        (r'Basic realm="a \"b\" \\ c"', Challenge("basic", r'a "b" \ c')),
        ('Basic realm="Bearer realm=x", charset="UTF-8"', Challenge("basic", "Bearer realm=x")),
        (',, BASIC realm = "x" ,', Challenge("basic", "x")),
        ("Basic", Challenge("basic")),
        ("", None),
        (None, None),
    ],
)
def test_a_challenge_is_read(header: str | None, challenge: Challenge | None) -> None:
    assert parse_challenge(header) == challenge


_SCHEMES = st.sampled_from(["Basic", "bearer", "BEARER", "Negotiate", "Digest"])
_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@given(st.lists(st.tuples(_SCHEMES, _VALUES, _VALUES), max_size=4), st.sampled_from([",", " , "]))
def test_any_list_of_challenges_is_read(offered: list[tuple[str, str, str]], comma: str) -> None:
    header = comma.join(
        f"{scheme} realm={_quoted(realm)}{comma}service={_quoted(service)}"
        for scheme, realm, service in offered
    )
    expected = [
        Challenge(wanted, realm, service)
        for wanted in ("bearer", "basic")
        for scheme, realm, service in offered
        if scheme.lower() == wanted
    ]
    assert parse_challenge(header) == (expected[0] if expected else None)


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_no_header_raises(header: str) -> None:
    found = parse_challenge(header)
    assert found is None or found.scheme in ("basic", "bearer")


def test_a_long_header_is_parsed_quickly() -> None:
    started = time.monotonic()
    for header in (
        "Bearer " + "a" * 60_000,
        "Bearer " + 'a="' * 20_000,
        "Basic " + "a=b=" * 15_000,
    ):
        parse_challenge(header)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("realm", ["http://tokens.example/t", "file:///etc/passwd", ""])
def test_credentials_do_not_follow_a_realm_out_of_tls(realm: str) -> None:
    authorization = Authorization(
        Transport(Options()),
        Challenge("bearer", realm),
        credentials=Credentials(source="s", username="u", password="p"),
        scopes=(),
        plain=False,
        secrets=[],
    )
    with pytest.raises(RegistryError, match="does not use HTTPS; credentials are not sent there"):
        authorization.renew(None)
