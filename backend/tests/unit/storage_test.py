"""Files on disk: names, sweeping, and names that clients make up."""

import os
import uuid
from pathlib import Path

import pytest

from app.services.storage import ORPHAN_AGE_S, Storage
from app.services.videos import display_name


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path)
    storage.prepare()
    return storage


def put(storage: Storage, *, aged: bool) -> uuid.UUID:
    video_id = uuid.uuid4()
    temporary = storage.incoming()
    temporary.write_bytes(b"x")
    storage.keep(temporary, video_id=video_id)
    if aged:
        age(storage.path(video_id))
    return video_id


def age(path: Path) -> None:
    past = path.stat().st_mtime - ORPHAN_AGE_S - 10
    os.utime(path, (past, past))


def test_sweeping_removes_old_files_without_a_row_and_nothing_else(storage: Storage) -> None:
    orphan, known, fresh = (
        put(storage, aged=True),
        put(storage, aged=True),
        put(storage, aged=False),
    )
    abandoned, under_way = storage.incoming(), storage.incoming()
    abandoned.write_bytes(b"x")
    under_way.write_bytes(b"x")
    age(abandoned)
    assert storage.sweep(known=[known]) == 2
    assert not storage.path(orphan).exists()
    assert not abandoned.exists()
    assert storage.path(known).exists()
    assert storage.path(fresh).exists()
    assert under_way.exists()


def test_deleting_twice_is_fine(storage: Storage) -> None:
    video_id = put(storage, aged=False)
    storage.delete(video_id)
    storage.delete(video_id)
    assert not storage.path(video_id).exists()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("holiday.mp4", "holiday.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\clip.mov", "clip.mov"),
        ("/", "unnamed"),
        ("..", ".."),
        ("", "unnamed"),
        ("a\r\nSet-Cookie: x\x00\x1b[31m.mp4", "aSet-Cookie: x[31m.mp4"),
        ("Überraschung 🎬.mp4", "Überraschung 🎬.mp4"),
        ("x" * 300, "x" * 255),
    ],
)
def test_a_clients_file_name_is_reduced_to_something_to_show(given: str, shown: str) -> None:
    assert display_name(given) == shown
