"""Tests of tools/bazel_root/certificates.py and trust.py."""

import base64
import hashlib
import struct
from pathlib import Path

import pytest

from tools.bazel_root import trust
from tools.bazel_root.certificates import certificates, java_trust_store, pem_bundle


def der(content: bytes) -> bytes:
    """A DER sequence around `content`: all that these functions look at."""
    size = len(content)
    if size < 0x80:
        return b"\x30" + bytes([size]) + content
    octets = (size.bit_length() + 7) // 8
    return b"\x30" + bytes([0x80 | octets]) + size.to_bytes(octets, "big") + content


ONE, TWO = der(b"one"), der(b"two" * 300)


def pem(content: bytes, label: str = "CERTIFICATE") -> bytes:
    text = base64.encodebytes(content)
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label.encode(), text, label.encode())


def test_certificates_are_found_amid_text_and_each_counts_once() -> None:
    text = b"# One\n" + pem(ONE) + b"\nsubject=two\n" + pem(TWO).replace(b"\n", b"\r\n") + pem(ONE)
    assert certificates([text, pem(TWO)]) == (ONE, TWO)


def test_keys_and_damaged_blocks_are_left_out() -> None:
    damaged = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"
    text = pem(b"key", "PRIVATE KEY") + damaged + pem(b"no sequence") + pem(TWO[:-1]) + pem(ONE)
    assert certificates([text]) == (ONE,)


def test_what_openssl_appends_to_a_trusted_certificate_is_cut_off() -> None:
    assert certificates([pem(TWO + der(b"trust"), "TRUSTED CERTIFICATE")]) == (TWO,)


def test_a_bundle_reads_back_and_has_lines_of_64() -> None:
    bundle = pem_bundle([ONE, TWO])
    assert certificates([bundle]) == (ONE, TWO)
    assert max(len(line) for line in bundle.splitlines()) == 64


def test_a_trust_store_reads_back_as_java_writes_it() -> None:
    store = java_trust_store([ONE, TWO], created=86400)
    assert struct.unpack(">III", store[:12]) == (0xFEEDFEED, 2, 2)
    position, found = 12, []
    for _ in range(2):
        (kind,) = struct.unpack_from(">I", store, position)
        alias, position = utf(store, position + 4)
        (milliseconds,) = struct.unpack_from(">Q", store, position)
        name, position = utf(store, position + 8)
        (size,) = struct.unpack_from(">I", store, position)
        found.append((kind, milliseconds, name, store[position + 4 : position + 4 + size]))
        assert alias.startswith(f"ca{len(found) - 1}-")
        position += 4 + size
    assert found == [(2, 86400000, "X.509", ONE), (2, 86400000, "X.509", TWO)]
    password = b"\0c\0h\0a\0n\0g\0e\0i\0t"
    digest = hashlib.sha1(password + b"Mighty Aphrodite" + store[:position]).digest()
    assert store[position:] == digest


def utf(data: bytes, position: int) -> tuple[str, int]:
    (size,) = struct.unpack_from(">H", data, position)
    return data[position + 2 : position + 2 + size].decode(), position + 2 + size


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root whose own bundle has ONE, on a host without bundles of its own."""
    monkeypatch.setattr(trust, "_SYSTEM_BUNDLES", ())
    monkeypatch.setattr(trust, "_LOCAL_AUTHORITIES", str(tmp_path / "local" / "*.crt"))
    path = tmp_path / "root"
    (path / "usr/share").mkdir(parents=True)
    (path / "usr/share/ca-bundle.pem").write_bytes(pem(ONE))
    return path


@pytest.mark.parametrize("variable", trust.VARIABLES)
def test_a_bundle_that_a_variable_names_is_added(tmp_path: Path, root: Path, variable: str) -> None:
    extra = tmp_path / "proxy.pem"
    extra.write_bytes(pem(TWO))
    made = trust.trust_directory(tmp_path, root=root, environ={variable: str(extra)})
    assert certificates([(made / trust.BUNDLE).read_bytes()]) == (ONE, TWO)
    assert (made / trust.STORE).read_bytes() == java_trust_store([ONE, TWO], created=0)


def test_what_the_administrator_added_is_trusted(tmp_path: Path, root: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "corporate.crt").write_bytes(pem(TWO))
    made = trust.trust_directory(tmp_path, root=root, environ={})
    assert certificates([(made / trust.BUNDLE).read_bytes()]) == (ONE, TWO)


def test_the_same_bundles_give_the_same_directory_and_others_another(
    tmp_path: Path, root: Path
) -> None:
    extra = tmp_path / "proxy.pem"
    extra.write_bytes(pem(TWO))
    environ = {"SSL_CERT_FILE": str(extra), "PIP_CERT": str(extra)}
    first = trust.trust_directory(tmp_path, root=root, environ=environ)
    stamp = (first / trust.STORE).stat().st_mtime_ns
    assert trust.trust_directory(tmp_path, root=root, environ=environ) == first
    assert (first / trust.STORE).stat().st_mtime_ns == stamp
    extra.write_bytes(pem(der(b"renewed")))
    assert trust.trust_directory(tmp_path, root=root, environ=environ) != first


def test_a_variable_that_names_no_file_changes_nothing(tmp_path: Path, root: Path) -> None:
    plain = trust.trust_directory(tmp_path, root=root, environ={})
    environ = {"SSL_CERT_FILE": str(tmp_path / "missing")}
    assert trust.trust_directory(tmp_path, root=root, environ=environ) == plain
