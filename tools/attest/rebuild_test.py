"""Independent rebuilders: who counts, and when enough of them agree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tools.attest import dsse, sign, verify_signature
from tools.attest.keys import load_private_key
from tools.attest.rebuild import rebuild_statement
from tools.attest.signed_for_test import make_image, make_key, push_image
from tools.attest.statement import REBUILD, make_statement
from tools.cli import ToolError
from tools.image.layout import open_layout
from tools.registry.registry_for_test import Server

COMMIT = "1234567890" * 4
ENOUGH, TOO_FEW, UNKNOWN = 0, 1, 2
PEOPLE = ("ada", "bob", "eve")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image")


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """A key for each of three people."""
    algorithms = ("p256", "ed25519", "p256")
    return {
        who: make_key(tmp_path / "keys", algorithm, who)
        for who, algorithm in zip(PEOPLE, algorithms, strict=True)
    }


def _rebuild(layout: Path, key: Path, out: Path, *flags: str) -> int:
    who = ["--rebuilder", f"https://{key.stem}.example", "--revision", COMMIT]
    return sign.main(
        ["--layout", str(layout), "--key", str(key), *who, "--output", str(out), *flags]
    )


def _verify(layout: Path, keys: dict[str, Path], threshold: int, rebuilds: Sequence[Path]) -> int:
    public = [str(key.with_suffix(".pub")) for key in keys.values()]
    files = ["--rebuilds", *map(str, rebuilds)] if rebuilds else []
    flags = ["--rebuilders", *public, "--threshold", str(threshold), *files]
    return verify_signature.main([str(layout), *flags])


def test_two_of_three_rebuilders_agree_offline(
    layout: Path, keys: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rebuilds"
    assert _rebuild(layout, keys["ada"], out, "--source=git+https://x.example/app") == 0
    assert _verify(layout, keys, 2, [out]) == TOO_FEW
    assert "1 of 2 needed rebuilders agree, which is too few\n" in capsys.readouterr().out
    assert _rebuild(layout, keys["bob"], out) == 0
    assert _verify(layout, keys, 2, [out]) == ENOUGH
    said = capsys.readouterr().out
    assert f"rebuilt by https://ada.example from git+https://x.example/app@{COMMIT}, key" in said
    assert f"rebuilt by https://bob.example from {COMMIT}, key" in said
    assert "2 of 2 needed rebuilders agree\n" in said
    assert _verify(layout, keys, 3, sorted(out.iterdir())) == TOO_FEW


def test_a_rebuilder_counts_once_however_often_it_signs(
    layout: Path, keys: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outs = [tmp_path / "one", tmp_path / "two"]
    for out in outs:
        assert _rebuild(layout, keys["ada"], out, f"--source=git+https://{out.name}.example") == 0
    assert _verify(layout, keys, 2, outs) == TOO_FEW
    assert "1 of 2 needed rebuilders agree" in capsys.readouterr().out


def test_a_key_that_is_not_trusted_does_not_count(
    layout: Path, keys: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = make_key(tmp_path, "p256", "stranger")
    for key in (keys["ada"], stranger):
        assert _rebuild(layout, key, tmp_path / "out") == 0
    assert _verify(layout, keys, 2, [tmp_path / "out"]) == TOO_FEW
    assert "no signature of a trusted key" in capsys.readouterr().out


def test_a_rebuild_of_another_image_does_not_count(
    layout: Path, keys: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_image(tmp_path / "other", "something else")
    assert _rebuild(layout, keys["ada"], tmp_path / "out") == 0
    assert _rebuild(other, keys["bob"], tmp_path / "out") == 0
    assert _verify(layout, keys, 2, [tmp_path / "out"]) == TOO_FEW
    assert "it is about another image" in capsys.readouterr().out


def _signed(layout: Path, key: Path, change: dict[str, Any], kind: str = REBUILD) -> bytes:
    """Return a statement about a rebuild, changed and then signed."""
    digest = open_layout(layout).root.digest
    made = rebuild_statement(digest, rebuilder="https://x.example", revision=COMMIT)
    predicate = {**json.loads(made)["predicate"], **change}
    private = load_private_key(str(key), here=Path(), environ={})
    envelope = dsse.sign(make_statement({digest: ""}, kind, predicate), private)
    return json.dumps(envelope.to_json()).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verificationResult": "FAILED"}, "the result is 'FAILED'"),
        ({"verifiedLevels": ["SLSA_BUILD_LEVEL_3"]}, "verifiedLevels has no REBUILT_BIT_FOR_BIT"),
        ({"verifiedLevels": None}, "verifiedLevels has no REBUILT_BIT_FOR_BIT"),
        ({"verifier": None}, "a rebuild without a verifier's id or a source"),
        ({"policy": {}}, "a rebuild without a verifier's id or a source"),
    ],
)
def test_a_rebuild_that_did_not_pass_does_not_count(
    layout: Path,
    keys: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    message: str,
) -> None:
    file = tmp_path / "rebuild.json"
    file.write_bytes(_signed(layout, keys["ada"], {}))
    assert _verify(layout, keys, 1, [file]) == ENOUGH
    file.write_bytes(_signed(layout, keys["ada"], change))
    assert _verify(layout, keys, 1, [file]) == TOO_FEW
    assert message in capsys.readouterr().out


def test_another_statement_of_a_rebuilder_is_no_rebuild(
    layout: Path, keys: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "provenance.json"
    file.write_bytes(_signed(layout, keys["ada"], {}, "https://slsa.dev/provenance/v1"))
    assert _verify(layout, keys, 1, [file]) == TOO_FEW


def test_a_claim_with_control_characters_steers_no_terminal(
    layout: Path, keys: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rebuild.json"
    file.write_bytes(_signed(layout, keys["ada"], {"verifier": {"id": "\x1b[2J"}}))
    assert _verify(layout, keys, 1, [file]) == ENOUGH
    assert "rebuilt by ?[2J from" in capsys.readouterr().out


def test_a_damaged_file_is_named_and_a_missing_one_is_an_error(
    layout: Path, keys: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "damaged").write_text("x")
    assert _verify(layout, keys, 1, [tmp_path / "damaged"]) == TOO_FEW
    assert f"{tmp_path / 'damaged'}: not JSON" in capsys.readouterr().out
    assert _verify(layout, keys, 1, [tmp_path / "missing"]) == UNKNOWN
    assert "No such file or directory" in capsys.readouterr().err


def test_rebuilders_may_put_their_statements_beside_the_image(
    server: Server, layout: Path, keys: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    reference = f"{server.host}/rebuilt:v1"
    push_image(layout, f"{server.host}/rebuilt")
    for who in ("ada", "bob"):
        flags = ["--rebuilder", f"mailto:{who}@x.example", "--revision", COMMIT]
        command = ["--layout", str(layout), "--key", str(keys[who]), *flags, reference]
        assert sign.main(command) == 0
    public = [str(key.with_suffix(".pub")) for key in keys.values()]
    capsys.readouterr()
    assert verify_signature.main([reference, "--threshold=2", "--rebuilders", *public]) == ENOUGH
    assert "rebuilt by mailto:ada@x.example" in capsys.readouterr().out
    # All of them, if no threshold is given; and a rebuild is no signature of the image.
    assert verify_signature.main([reference, "--rebuilders", *public]) == TOO_FEW
    assert verify_signature.main([reference, "--key", public[0]]) == TOO_FEW


@pytest.mark.parametrize(
    ("threshold", "double", "message"),
    [
        (0, False, "--threshold 0: must be from 1 to the number of --rebuilders, 3"),
        (4, False, "--threshold 4: must be from 1 to the number of --rebuilders, 3"),
        (2, True, "are one key; it counts once"),
    ],
)
def test_rebuilders_must_be_independent_and_enough(
    layout: Path,
    keys: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    threshold: int,
    double: bool,
    message: str,
) -> None:
    if double:
        copy = tmp_path / "copy.pem"
        copy.with_suffix(".pub").write_bytes(keys["ada"].with_suffix(".pub").read_bytes())
        keys["copy"] = copy
    assert _verify(layout, keys, threshold, []) == UNKNOWN
    assert message in capsys.readouterr().err


def test_the_revision_is_the_checkouts_if_nothing_in_it_is_changed(
    layout: Path,
    keys: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The one of the lock; a root of its own need not have any.
    program = Path(os.environ.get("GIT_BINARY") or shutil.which("git") or "git").resolve()
    checkout, programs = tmp_path / "checkout", tmp_path / "bin"
    for directory in (checkout, programs):
        directory.mkdir()
    (checkout / "file").write_text("x")
    monkeypatch.setenv("BUILD_WORKSPACE_DIRECTORY", str(checkout))
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(programs))
    flags = ["--layout", str(layout), "--key", str(keys["ada"]), "--rebuilder=https://x.example"]
    command = [*flags, "--output", str(tmp_path / "out")]

    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@x.example"]
        line = [str(program), *who, "-C", str(checkout), *words]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()

    assert sign.main(command) == 1
    assert f"{checkout}: git status: [Errno 2] No such file" in capsys.readouterr().err
    (programs / "git").symlink_to(program)
    monkeypatch.setenv("PATH", f"{programs}:{path}")
    assert sign.main(command) == 1
    assert f"{checkout}: git status: fatal: not a git repository" in capsys.readouterr().err
    git("init", "-q")
    git("add", ".")
    assert sign.main(command) == 1
    assert f"{checkout}: has changes that are not committed" in capsys.readouterr().err
    git("commit", "-q", "-m", "x")
    assert sign.main(command) == 0
    (file,) = (tmp_path / "out").iterdir()
    predicate = json.loads(dsse.read_envelope(file.read_bytes()).payload)["predicate"]
    assert predicate["policy"] == {"digest": {"gitCommit": git("rev-parse", "HEAD")}}
    assert predicate["verificationResult"] == "PASSED"


@pytest.mark.parametrize(
    ("rebuilder", "revision", "message"),
    [
        ("me", COMMIT, "--rebuilder 'me' must be a URI that says who you are"),
        ("https://x.example", "main", "revision 'main' must be a full commit hash of git"),
        ("https://x.example", COMMIT[:7], "must be a full commit hash of git"),
    ],
)
def test_who_and_what_must_be_said_exactly(rebuilder: str, revision: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        rebuild_statement("sha256:" + "0" * 64, rebuilder=rebuilder, revision=revision)
