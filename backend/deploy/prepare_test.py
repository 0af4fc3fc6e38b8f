"""prepare.py: digests and secrets → files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import yaml
from deploy import prepare

DIGEST = "sha256:" + "1" * 64


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The flags of a first call."""
    monkeypatch.delenv("BUILD_WORKSPACE_DIRECTORY", raising=False)
    (tmp_path / "digest").write_text(DIGEST + "\n")
    return [f"--digest={name}={tmp_path}/digest" for name in ("redis", "backend")] + [
        f"--out={tmp_path / 'out'}"
    ]


def test_images_are_named_by_digest(tmp_path: Path, flags: list[str]) -> None:
    assert prepare.main([*flags, "--registry=example.com:5000/video"]) == 0
    assert (tmp_path / "out/images.env").read_text() == (
        f"BACKEND_IMAGE=example.com:5000/video/backend@{DIGEST}\n"
        f"REDIS_IMAGE=example.com:5000/video/redis@{DIGEST}\n"
    )
    component = yaml.safe_load((tmp_path / "out/kubernetes/images/kustomization.yaml").read_text())
    assert component["kind"] == "Component"
    assert component["images"][0] == {
        "name": "backend",
        "newName": "example.com:5000/video/backend",
        "digest": DIGEST,
    }


def test_secrets_belong_together_and_to_their_reader(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main(flags) == 0
    directory = tmp_path / "out/secrets"
    text = {path.name: path.read_text() for path in directory.iterdir()}
    database = text["postgres_password"].strip()
    assert text["database_url"] == f"postgresql://backend:{database}@postgres/backend\n"
    broker = text["broker_url"].removeprefix("redis://backend:").partition("@")[0]
    assert len(broker) >= 32
    assert broker != database
    assert f"#{hashlib.sha256(broker.encode()).hexdigest()} " in text["redis_acl"]
    assert broker not in text["redis_acl"]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o400}
    advised = "podman unshare chown 1000:1000" in capsys.readouterr().out
    owners = {path.stat().st_uid for path in directory.iterdir()}
    assert owners == {os.getuid() if advised else prepare.USER}


def test_second_call_keeps_the_secrets(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main(flags) == 0
    before = (tmp_path / "out/secrets/redis_acl").read_text()
    assert "secrets made" in capsys.readouterr().out
    assert prepare.main(flags) == 0
    assert "secrets kept" in capsys.readouterr().out
    assert (tmp_path / "out/secrets/redis_acl").read_text() == before


def test_lost_secret_is_named(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main(flags) == 0
    (tmp_path / "out/secrets/broker_url").unlink()
    assert prepare.main(flags) == 1
    assert "lacks broker_url, whose passwords are in the other files" in capsys.readouterr().err


@pytest.mark.parametrize("registry", ["", "https://example.com/x", "example.com/x/", "A b"])
def test_registry_that_is_none_is_refused(
    flags: list[str], capsys: pytest.CaptureFixture[str], registry: str
) -> None:
    assert prepare.main([*flags, f"--registry={registry}"]) == 1
    assert "is not HOST[:PORT]/PATH without a tag" in capsys.readouterr().err
