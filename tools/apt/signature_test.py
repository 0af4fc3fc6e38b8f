from pathlib import Path

import pytest

from tools.apt.gpgv_for_test import KEYRING, TESTDATA, verifier
from tools.apt.signature import Verifier
from tools.apt.signing import unpacked_verifier
from tools.cli import ToolError

_SIGNED = (TESTDATA / "archive/dists/bookworm/InRelease").read_bytes()


def _refusal(checker: Verifier, content: bytes) -> str:
    with pytest.raises(ToolError) as caught:
        checker.signed_text(content, name="InRelease")
    return str(caught.value)


def test_the_text_that_a_trusted_key_signed_comes_back() -> None:
    text = verifier().signed_text(_SIGNED, name="InRelease")
    assert text.startswith("Origin: Test\n")
    assert "PGP" not in text


@pytest.mark.parametrize(
    "forged", [b"Codename: forged\n\n" + _SIGNED, _SIGNED + b"\nCodename: forged\n"]
)
def test_text_around_the_signed_part_is_ignored(forged: bytes) -> None:
    text = verifier().signed_text(forged, name="InRelease")
    assert text.startswith("Origin: Test\n")
    assert "forged" not in text


def test_a_changed_file_is_refused() -> None:
    message = _refusal(verifier(), _SIGNED.replace(b"amd64", b"amd46", 1))
    assert message.startswith(
        "InRelease: no good signature by a key of keyring.gpg (gpgv says BADSIG"
    )
    assert "use another one, or renew the keyring" in message


def test_a_key_that_is_not_in_the_keyring_is_refused() -> None:
    message = _refusal(verifier(keyring=TESTDATA / "stranger.gpg"), _SIGNED)
    assert "no good signature by a key of stranger.gpg (gpgv says ERRSIG, NO_PUBKEY" in message


def test_a_key_that_has_expired_is_refused() -> None:
    content = (TESTDATA / "signed/expired_key.InRelease").read_bytes()
    assert "(gpgv says EXPKEYSIG" in _refusal(verifier(), content)


@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        ("sha1", "(gpgv says ERRSIG: "),
        ("sha224", "(gpgv says GOODSIG, but of a digest weaker than SHA256 (OpenPGP's number 11)"),
        ("rsa1024", "(gpgv says GOODSIG, but by an RSA key of 1024 bits, wanted at least 2048"),
        ("dsa2048", "(gpgv says GOODSIG, but by a DSA key"),
    ],
)
def test_a_weak_signature_is_refused(signed: str, reason: str) -> None:
    content = (TESTDATA / f"signed/{signed}.InRelease").read_bytes()
    assert reason in _refusal(verifier(), content)


@pytest.mark.parametrize("signed", ["rsa2048", "rsa1024_and_archive"])
def test_one_strong_signature_suffices(signed: str) -> None:
    content = (TESTDATA / f"signed/{signed}.InRelease").read_bytes()
    assert verifier().signed_text(content, name="InRelease").startswith("Origin: Test\n")


def test_a_strong_but_expired_key_does_not_make_up_for_a_weak_one(tmp_path: Path) -> None:
    # gpgv calls the signature of an expired key valid, too; which of the two is good must be told.
    gpgv = tmp_path / "gpgv"
    key = "F" * 40
    gpgv.write_text(
        '#!/bin/sh\nfor last; do :; done\ntouch "${last%/*}/text"\n'
        f"echo '[GNUPG:] EXPKEYSIG F expired'; echo '[GNUPG:] VALIDSIG {key} d 0 0 4 0 22 10 01'\n"
        f"echo '[GNUPG:] GOODSIG F weak'; echo '[GNUPG:] VALIDSIG {key} d 0 0 4 0 1 2 01'\n",
        encoding="utf-8",
    )
    gpgv.chmod(0o755)
    message = _refusal(Verifier(command=(str(gpgv),), keyring=KEYRING), _SIGNED)
    assert "(gpgv says EXPKEYSIG, GOODSIG, but of a digest weaker than SHA256" in message


def test_a_file_without_a_signature_is_refused() -> None:
    assert "(gpgv says NODATA" in _refusal(verifier(), b"Codename: bookworm\n")


def test_a_keyring_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.gpg"
    message = _refusal(verifier(keyring=missing), _SIGNED)
    assert message == f"InRelease: the keyring {missing} does not exist"


def test_a_gpgv_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "gpgv")
    message = _refusal(Verifier(command=(missing,), keyring=KEYRING), _SIGNED)
    assert message.startswith(f"InRelease: cannot run gpgv as '{missing}': ")


def test_packages_without_gpgv_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"have no ld-linux-\*\.so\.\*: $"):
        unpacked_verifier([], directory=tmp_path)


def test_a_file_that_is_not_a_package_is_named(tmp_path: Path) -> None:
    deb = tmp_path / "gpgv.deb"
    deb.write_bytes(b"<html>not found</html>")
    with pytest.raises(ToolError, match=r"gpgv\.deb: .*not a Debian package"):
        unpacked_verifier([deb], directory=tmp_path / "out")
