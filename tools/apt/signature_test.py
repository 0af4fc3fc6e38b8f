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


def test_the_text_that_a_trusted_key_signed_comes_back(tmp_path: Path) -> None:
    text = verifier(tmp_path).signed_text(_SIGNED, name="InRelease")
    assert text.startswith("Origin: Test\n")
    assert "PGP" not in text


@pytest.mark.parametrize(
    "forged", [b"Codename: forged\n\n" + _SIGNED, _SIGNED + b"\nCodename: forged\n"]
)
def test_text_around_the_signed_part_is_ignored(tmp_path: Path, forged: bytes) -> None:
    text = verifier(tmp_path).signed_text(forged, name="InRelease")
    assert text.startswith("Origin: Test\n")
    assert "forged" not in text


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    message = _refusal(verifier(tmp_path), _SIGNED.replace(b"amd64", b"amd46", 1))
    assert message.startswith(
        "InRelease: no good signature by a key of keyring.gpg (gpgv says BADSIG"
    )
    assert "use another one, or renew the keyring" in message


def test_a_key_that_is_not_in_the_keyring_is_refused(tmp_path: Path) -> None:
    message = _refusal(verifier(tmp_path, keyring=TESTDATA / "stranger.gpg"), _SIGNED)
    assert "no good signature by a key of stranger.gpg (gpgv says ERRSIG, NO_PUBKEY" in message


def test_a_key_that_has_expired_is_refused(tmp_path: Path) -> None:
    content = (TESTDATA / "expired_key.InRelease").read_bytes()
    assert "(gpgv says EXPKEYSIG" in _refusal(verifier(tmp_path), content)


def test_a_file_without_a_signature_is_refused(tmp_path: Path) -> None:
    assert "(gpgv says NODATA" in _refusal(verifier(tmp_path), b"Codename: bookworm\n")


def test_a_keyring_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.gpg"
    message = _refusal(verifier(tmp_path, keyring=missing), _SIGNED)
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
