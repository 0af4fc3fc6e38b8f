from pathlib import Path

import pytest

from tools.apt.gpgv_for_test import KEYRING
from tools.apt.keyring import weakness
from tools.cli import ToolError


def _refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ToolError) as caught:
        weakness(path, "A" * 40)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----", "no packet starts at byte 0"),
        (KEYRING.read_bytes()[:-1], "the last packet is cut off"),
        (b"\x9b\x00", "a packet has no length"),
        (b"\xc6\xe0\x00", "a packet is in parts"),
        (b"\xc6", "index out of range"),
        (b"\xc6\x00", "index out of range"),
    ],
)
def test_a_keyring_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "keys.gpg"
    message = _refusal(path, content)
    assert message.startswith(f"the keyring {path} is not a series of binary OpenPGP keys: {cause}")
    assert message.endswith("; export it with gpg --export")


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "keys.gpg"
    assert _refusal(path, KEYRING.read_bytes()) == f"the keyring {path} has no key {'A' * 40}"


@pytest.mark.parametrize("length", [b"\x08", b"\xff\x00\x00\x00\x08"])
def test_an_unknown_algorithm_is_weak(tmp_path: Path, length: bytes) -> None:
    path = tmp_path / "keys.gpg"
    path.write_bytes(b"\xc6" + length + b"\x04\x00\x00\x00\x00\x10\x08\x00")
    fingerprint = "E509297E0B97D559FC91DAC0A95C72E2EDBF2814"
    assert weakness(path, fingerprint) == "a key of algorithm 16"


def test_a_long_packet_of_the_new_format_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "keys.gpg"
    path.write_bytes(b"\xcd\xc0\x01" + bytes(193) + KEYRING.read_bytes())
    with pytest.raises(ToolError, match="has no key"):
        weakness(path, "A" * 40)
