"""`verify` with keys: the bytes are compared and the signatures verified, in one command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.attest import sign
from tools.attest.signed_for_test import make_image, make_key, push_image
from tools.image.layout import open_layout
from tools.registry.registry_for_test import Server, forget_the_user
from tools.verify import verify
from tools.verify.service_for_test import Images

COMMIT = "1234567890" * 4
HOLDS, FAILS, UNKNOWN = 0, 1, 2


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_the_user(monkeypatch, tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(tmp_path))


def _public(key: Path) -> str:
    return str(key.with_suffix(".pub"))


def test_a_pushed_index_is_the_same_and_signed(
    images: Images, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, other = make_key(tmp_path, "p256"), make_key(tmp_path, "p256", "other")
    reference = f"{server.host}/index:v1"
    digest = push_image(images.index, f"{server.host}/index")
    command = [*images.flags(), reference]
    assert verify.main([*command, "--key", _public(key)]) == FAILS
    out = capsys.readouterr().out
    assert f"same: this checkout makes {reference}" in out
    assert "no signature of a trusted key" in out
    assert sign.main(["--layout", str(images.index), "--key", str(key), reference]) == 0
    assert verify.main([*command, "--key", _public(key)]) == HOLDS
    assert f"signed by key {_public(key)}" in capsys.readouterr().out
    assert verify.main([*command, "--key", _public(other)]) == FAILS
    assert verify.main([*command, "--key", _public(key), "--attestation=openvex"]) == FAILS
    assert verify.main([*command, "--key", str(tmp_path / "missing")]) == UNKNOWN
    assert verify.main([*images.flags(), digest, "--key", _public(key)]) == FAILS


def test_an_image_that_is_signed_but_not_this_checkouts_fails(
    images: Images, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, theirs = make_key(tmp_path, "ed25519"), make_image(tmp_path / "theirs")
    reference = f"{server.host}/theirs:v1"
    push_image(theirs, f"{server.host}/theirs")
    assert sign.main(["--layout", str(theirs), "--key", str(key), reference]) == 0
    assert verify.main([*images.flags(), reference, "--key", _public(key)]) == FAILS
    out = capsys.readouterr().out
    assert f"different: this checkout does not make {reference}" in out
    assert "signed by key" in out


def test_a_signed_layout_and_enough_rebuilders_are_verified_offline(
    images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [make_key(tmp_path, "p256", name) for name in ("release", "ada", "bob", "eve")]
    release, *rebuilders = keys
    saved, rebuilds = tmp_path / "saved", tmp_path / "rebuilds"
    layout = ["--layout", str(images.index)]
    name = "registry.example/app"
    assert sign.main([*layout, "--key", str(release), "--output", str(saved), name]) == 0
    for key in rebuilders[:2]:
        who = ["--rebuilder", f"https://{key.stem}.example", "--revision", COMMIT]
        command = [*layout, "--key", str(key), *who, "--output", str(rebuilds)]
        assert sign.main(command) == 0
    flags = [*images.flags(), str(saved), "--key", _public(release), "--rebuilds", str(rebuilds)]
    flags += ["--rebuilders", *map(_public, rebuilders), "--threshold"]
    capsys.readouterr()
    assert verify.main([*flags, "2"]) == HOLDS
    out = capsys.readouterr().out
    assert f"same: this checkout makes {saved}" in out
    assert f"rebuilt by https://ada.example from {COMMIT}" in out
    assert "2 of 2 needed rebuilders agree" in out
    assert verify.main([*flags, "3"]) == FAILS
    assert "2 of 3 needed rebuilders agree, which is too few" in capsys.readouterr().out
    assert verify.main([*flags, "4"]) == UNKNOWN
    assert "--threshold 4: must be from 1" in capsys.readouterr().err


def test_each_image_of_an_index_is_rebuilt_with_it(images: Images, tmp_path: Path) -> None:
    key, rebuilds = make_key(tmp_path, "p256"), tmp_path / "rebuilds"
    who = ["--rebuilder", "https://me.example", "--revision", COMMIT]
    layout = ["--layout", str(images.index), "--key", str(key)]
    assert sign.main([*layout, *who, "--output", str(rebuilds)]) == 0
    for image in (images.index, images.amd64, images.arm64):
        flags = ["--rebuilders", _public(key), "--rebuilds", str(rebuilds)]
        # By its digest alone, too: nothing but the rebuilders' files is needed.
        for reference in (str(image), open_layout(image).root.digest):
            assert verify.main([*images.flags(), reference, *flags]) == HOLDS


def test_half_of_a_question_is_refused(images: Images, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([*images.flags(), str(images.index), "--threshold=1"]) == UNKNOWN
    assert "nothing to verify: give --key" in capsys.readouterr().err
