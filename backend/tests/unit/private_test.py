"""The mode of a data directory; outside a container, which may refuse the set-group-id bit."""

from pathlib import Path

import pytest

from app.services.private import tighten_root


@pytest.mark.parametrize(
    ("before", "after"), [(0o755, 0o700), (0o1777, 0o1777), (0o2775, 0o2700), (0o700, 0o700)]
)
def test_only_a_shared_directory_stays_open_to_others(
    tmp_path: Path, before: int, after: int
) -> None:
    tmp_path.chmod(before)
    tighten_root(tmp_path)
    assert tmp_path.stat().st_mode & 0o7777 == after
