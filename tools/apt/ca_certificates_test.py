"""The bundle is the certificates, sorted; anything that is not one certificate is refused."""

import base64

import pytest

from tools.apt import ca_certificates
from tools.cli import ToolError


def _pem(content: bytes) -> bytes:
    body = base64.encodebytes(content)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


def test_the_bundle_is_sorted_and_each_part_ends_its_line() -> None:
    one, two = _pem(b"1" * 60), _pem(b"2" * 60)
    certificates = {
        "usr/share/ca-certificates/mozilla/B.crt": two,
        "usr/share/ca-certificates/mozilla/A.crt": one.rstrip(b"\n"),
    }
    assert ca_certificates.bundle(certificates) == one + two


def test_each_certificate_has_a_link_as_update_ca_certificates_makes_it() -> None:
    path = "usr/share/ca-certificates/mozilla/F\u0151=Root.crt"
    assert ca_certificates.links({path: b""}) == {"etc/ssl/certs/F\u0151=Root.pem": f"/{path}"}


@pytest.mark.parametrize(
    "content",
    [b"", b"\x30\x82", _pem(b"1") + _pem(b"2"), _pem(b"1")[:-3], _pem(b"1").replace(b"M", b"*")],
)
def test_what_is_not_one_certificate_is_refused(content: bytes) -> None:
    with pytest.raises(ToolError, match=r"/usr/share/ca-certificates/x\.crt"):
        ca_certificates.bundle({"usr/share/ca-certificates/x.crt": content})


def test_an_empty_bundle_is_refused_while_the_image_is_built() -> None:
    with pytest.raises(ToolError, match="is ca-certificates missing"):
        ca_certificates.bundle({})


def test_only_certificates_are_sources() -> None:
    assert ca_certificates.is_source("usr/share/ca-certificates/mozilla/A.crt")
    assert not ca_certificates.is_source("usr/share/doc/ca-certificates/A.crt")
    assert not ca_certificates.is_source("usr/share/ca-certificates/README")
