"""Fixtures for all tests, and the import root of `app`, `main` and `tests`: backend/."""

import sys
from pathlib import Path

import pytest

# Bazel sets the import root; pytest may be started from anywhere.
sys.path.insert(0, str(Path(__file__).absolute().parent.parent))

from app.settings import Settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the developer's own settings from the environment."""
    for name in Settings.model_fields:
        if name not in ("ffmpeg", "ffprobe"):
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
