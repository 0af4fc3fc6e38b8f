"""WWW-Authenticate headers as registries write them, and where credentials must not go."""

from __future__ import annotations

import time
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.registry.authorization import Authorization, Challenge, parse_challenge
from tools.registry.credentials import Credentials
from tools.registry.errors import RegistryError
from tools.registry.reference import parse_repository
from tools.registry.registry import Registry
from tools.registry.transport import Options, Response, Transport


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
        plain_host=None,
        secrets=[],
    )
    with pytest.raises(RegistryError, match="does not use HTTPS; credentials are not sent there"):
        authorization.renew(None)


@pytest.mark.parametrize("host", ["tokens.example", "127.0.0.1.example", "reg.example.evil"])
def test_a_registry_without_tls_cannot_send_credentials_in_the_clear_elsewhere(host: str) -> None:
    authorization = Authorization(
        Transport(Options()),
        Challenge("bearer", f"http://{host}/t"),
        credentials=Credentials(source="s", username="u", password="p"),
        scopes=(),
        plain_host="127.0.0.1",
        secrets=[],
    )
    with pytest.raises(RegistryError, match=f"'http://{host}/t' does not use HTTPS; credentials"):
        authorization.renew(None)


@pytest.mark.parametrize(
    "realm",
    ["https://[::1/t", "https://reg.example:99999/t", "https://reg.example/\xfc", "https://a b"],
)
def test_a_realm_that_is_not_a_url_is_an_error(realm: str) -> None:
    authorization = Authorization(
        Transport(Options()),
        Challenge("bearer", realm),
        credentials=None,
        scopes=(),
        plain_host=None,
        secrets=[],
    )
    with pytest.raises(RegistryError, match=r"token server '.*' is not a URL: "):
        authorization.renew(None)


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("https://[::1/x", "is not a URL: "),
        ("https://reg.example:99999/x", "is not a URL: Port out of range"),
        ("/v2/\xfc", "is not a URL: it has characters that a URL may not have"),
        ("/v2/a b", "is not a URL: it has characters that a URL may not have"),
        ("file:///etc/passwd", "Location has scheme 'file'"),
        ("http://reg.example/", "redirects from HTTPS to plain HTTP"),
    ],
)
def test_a_location_that_cannot_be_followed_is_an_error(target: str, cause: str) -> None:
    registry = Registry(
        Transport(Options()), parse_repository("reg.example/app"), credentials=None, secrets=[]
    )
    headers = Message()
    headers["Location"] = target
    response = Response(307, "", headers, b"", url="https://reg.example/v2/")
    with pytest.raises(RegistryError) as caught:
        registry.location(response)
    assert cause in str(caught.value)
