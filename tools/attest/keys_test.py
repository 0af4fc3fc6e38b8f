"""Which keys sign and verify, and that no message shows any part of one."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tools.attest.keys import load_private_key, load_public_key
from tools.cli import ToolError

PASSWORD = "correct horse"
_FORMATS = {
    "PKCS#8": serialization.PrivateFormat.PKCS8,
    "SEC 1": serialization.PrivateFormat.TraditionalOpenSSL,
}
_Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
_P256 = ec.generate_private_key(ec.SECP256R1())
_KEYS: dict[str, _Key] = {"p256": _P256, "ed25519": ed25519.Ed25519PrivateKey.generate()}


def _pem(key: _Key, *, password: str = "", form: str = "PKCS#8") -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    return key.private_bytes(serialization.Encoding.PEM, _FORMATS[form], encryption)


def _public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize("algorithm", _KEYS)
def test_a_signature_verifies_with_the_exported_public_key_alone(
    tmp_path: Path, algorithm: str
) -> None:
    (tmp_path / "key").write_bytes(_pem(_KEYS[algorithm]))
    key = load_private_key("key", here=tmp_path, environ={})
    (tmp_path / "pub").write_bytes(key.public.pem)
    public = load_public_key("pub", here=tmp_path, environ={})
    signature = key.sign(b"data")
    assert public.verifies(signature, b"data")
    assert not public.verifies(signature, b"date")
    assert not public.verifies(b"", b"data")
    assert not public.verifies(signature[:-1], b"data")
    assert public == key.public
    # The same bytes again: signing twice changes nothing in a registry.
    assert key.sign(b"data") == signature


def test_a_key_is_read_from_an_environment_variable() -> None:
    environ = {"KEY": _pem(_KEYS["p256"]).decode()}
    key = load_private_key("env://KEY", here=Path(), environ=environ)
    environ["PUB"] = key.public.pem.decode()
    assert load_public_key("env://PUB", here=Path(), environ=environ) == key.public


def test_an_encrypted_key_takes_its_password_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(_pem(_KEYS["ed25519"], password=PASSWORD))
    key = load_private_key("key", here=tmp_path, environ={"COSIGN_PASSWORD": PASSWORD})
    assert key.public.der == _KEYS["ed25519"].public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_an_encrypted_key_asks_for_its_password_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_bytes(_pem(_KEYS["p256"], password=PASSWORD))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return PASSWORD

    monkeypatch.setattr("getpass.getpass", answer)
    load_private_key("key", here=tmp_path, environ={})
    assert asked == [f"Password of key {tmp_path / 'key'}: "]


def test_an_older_form_of_an_ec_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(_pem(_KEYS["p256"], form="SEC 1"))
    load_private_key("key", here=tmp_path, environ={})


_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_P384 = ec.generate_private_key(ec.SECP384R1())
_COSIGN = b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END\n"


@pytest.mark.parametrize(
    ("content", "password", "message"),
    [
        (_pem(_RSA), "", "another algorithm; ECDSA on P-256 and Ed25519 are supported"),
        (_pem(_P384), "", "another algorithm; ECDSA on P-256 and Ed25519 are supported"),
        (_pem(_KEYS["p256"], password=PASSWORD), "tr0ub4dor", "the password is wrong"),
        (_pem(_KEYS["p256"], password=PASSWORD), "", "is encrypted; set COSIGN_PASSWORD"),
        (_COSIGN, "", "is in cosign's own format; a key in PKCS#8 is needed"),
        (_pem(_KEYS["p256"])[:120] + b"\n", "", "not a private key; PKCS#8 in PEM is needed"),
        (_public_pem(_P384), "", "not a private key; PKCS#8 in PEM is needed"),
        (b"not a key", "", "is not a key in PEM"),
        (b"", "", "is not a key in PEM"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_without_showing_it(
    tmp_path: Path, content: bytes, password: str, message: str
) -> None:
    (tmp_path / "key").write_bytes(content)
    environ = {"COSIGN_PASSWORD": password} if password else {}
    with pytest.raises(ToolError, match=re.escape(message)) as caught:
        load_private_key("key", here=tmp_path, environ=environ)
    shown = "".join(map(str, (caught.value, caught.value.__cause__)))
    assert str(tmp_path / "key") in shown
    lines = [line for line in content.decode().splitlines() if len(line) > 40 and "-" not in line]
    assert [line for line in lines if line in shown] == []
    assert not password or password not in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_pem(_KEYS["p256"]), "is a private key; a public key verifies ('sign --public-key')"),
        (_public_pem(_RSA), "another algorithm"),
        (_public_pem(_P384), "another algorithm"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is not a public key"),
        (b"{}", "is not a key in PEM"),
    ],
)
def test_what_cannot_verify_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "pub").write_bytes(content)
    with pytest.raises(ToolError, match=re.escape(message)):
        load_public_key("pub", here=tmp_path, environ={})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "missing: cannot be read: No such file or directory"),
        ("env://NONE", "key env://NONE: the variable is not set"),
        (_pem(_KEYS["p256"]).decode(), "a key itself must not be an argument"),
    ],
)
def test_a_key_that_is_not_there_is_named_and_one_as_an_argument_is_not(
    name: str, message: str
) -> None:
    with pytest.raises(ToolError, match=re.escape(message)) as caught:
        load_private_key(name, here=Path(), environ={})
    assert "-----BEGIN" not in str(caught.value)


def test_a_private_key_has_no_text_form(tmp_path: Path) -> None:
    pem = _pem(_KEYS["p256"])
    (tmp_path / "key").write_bytes(pem)
    key = load_private_key("key", here=tmp_path, environ={})
    secret = _P256.private_numbers().private_value.to_bytes(32, "big")
    for text in (repr(key), str(key)):
        assert text == f"PrivateKey of {key.public}"
        assert secret.hex() not in text
        assert base64.b64encode(secret).decode() not in text
