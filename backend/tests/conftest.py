"""Fixtures for all tests, and the import root: `app`, `main` and `tests` lie in backend/."""

import sys
from pathlib import Path

import pytest

# Under Bazel the import root is declared; by hand the tests may be started from anywhere.
sys.path.insert(0, str(Path(__file__).absolute().parent.parent))

from app.settings import Settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tester's own settings out of the tests."""
    for name in Settings.model_fields:
        if name not in ("ffmpeg", "ffprobe"):
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
