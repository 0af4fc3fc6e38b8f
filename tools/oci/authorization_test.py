"""WWW-Authenticate headers as registries write them, and where credentials must not go."""

from __future__ import annotations

import pytest

from tools.oci.answers import RegistryError
from tools.oci.authorization import Authorization, Challenge, parse_challenge
from tools.oci.credentials import Credentials
from tools.oci.transport import Options, Transport


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
        ("", None),
        (None, None),
    ],
)
def test_a_challenge_is_read(header: str | None, challenge: Challenge | None) -> None:
    assert parse_challenge(header) == challenge


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
    with pytest.raises(RegistryError, match="is not HTTPS; credentials are not sent there"):
        authorization.renew(None)
