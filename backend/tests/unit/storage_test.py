"""Files on disk: sweeping, the cache, the reserve, and client file names."""

import os
import time
import uuid
from pathlib import Path

import pytest

from app.services.storage import ORPHAN_AGE_S, RESERVE_BYTES, Storage
from app.services.videos import display_name


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path)
    storage.prepare()
    return storage


def put(storage: Storage) -> uuid.UUID:
    video_id = uuid.uuid4()
    temporary = storage.incoming()
    temporary.write_bytes(b"x")
    storage.keep(temporary, video_id=video_id)
    return video_id


def age_everything(storage: Storage) -> None:
    for path in storage.root.rglob("*"):
        past = path.stat().st_mtime - ORPHAN_AGE_S - 10
        os.utime(path, (past, past))


def test_sweep_resolves_old_marks_by_the_database(storage: Storage) -> None:
    orphan, known = put(storage), put(storage)
    abandoned = storage.incoming()
    abandoned.write_bytes(b"x")
    age_everything(storage)
    fresh, in_progress = put(storage), storage.incoming()
    in_progress.write_bytes(b"x")
    assert storage.sweep(exists=lambda video_id: video_id == known) == 2
    assert not storage.path(orphan).exists()
    assert not abandoned.exists()
    assert storage.path(known).exists()
    assert storage.path(fresh).exists()
    assert in_progress.exists()
    age_everything(storage)
    assert storage.sweep(exists=lambda _: True) == 1
    assert list((storage.root / "incoming").iterdir()) == []


def test_unmarked_content_survives_a_wrong_database(storage: Storage) -> None:
    video_id = put(storage)
    storage.unmark(video_id)
    age_everything(storage)
    assert storage.sweep(exists=lambda _: False) == 0
    assert storage.path(video_id).exists()


def derive(storage: Storage, video_id: uuid.UUID, name: str, size: int, *, age: float) -> Path:
    temporary, target = storage.incoming(), storage.derived(video_id, name)
    temporary.write_bytes(b"x" * size)
    storage.keep_derived(temporary, target)
    past = time.time() - age
    os.utime(target, (past, past))
    return target


def test_least_recently_used_files_are_evicted_first(storage: Storage) -> None:
    one, two = put(storage), put(storage)
    old = derive(storage, one, "old.jpg", 40, age=300)
    newer = derive(storage, two, "newer.jpg", 40, age=200)
    newest = derive(storage, one, "newest.jpg", 40, age=100)
    assert storage.trim_derived(90) == 1
    assert (old.exists(), newer.exists(), newest.exists()) == (False, True, True)
    assert storage.trim_derived(0) == 0  # checked a moment ago
    assert storage.path(one).exists()


def test_derived_files_are_deleted_with_their_video_even_after_a_crash(storage: Storage) -> None:
    deleted, crashed = put(storage), put(storage)
    derived = [derive(storage, video_id, "a.jpg", 1, age=0) for video_id in (deleted, crashed)]
    storage.delete(deleted)
    assert [path.exists() for path in derived] == [False, True]
    storage.path(crashed).unlink()  # killed while deleting: the mark is still there
    age_everything(storage)
    storage.sweep(exists=lambda _: False)
    assert not derived[1].parent.exists()


def test_deleting_twice_is_harmless(storage: Storage) -> None:
    video_id = put(storage)
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
        ('say "cheese" #1 100%.mp4', 'say "cheese" #1 100%.mp4'),
        ("3.45.12\u202fPM.mp4", "3.45.12 PM.mp4"),
        ("映像\u3000そのA.mp4", "映像 そのA.mp4"),
        ("a\u00a0b\u2003c\u2028d.mp4", "a b c d.mp4"),
        ("\u0645\u06cc\u200c\u062e\u0648.mp4", "\u0645\u06cc\u200c\u062e\u0648.mp4"),
        ("👨\u200d👩\u200d👧.mp4", "👨\u200d👩\u200d👧.mp4"),
        ("🏴\U000e0067\U000e0062\U000e007f.mp4", "🏴\U000e0067\U000e0062\U000e007f.mp4"),
        ("שלום\u200f.mp4", "שלום\u200f.mp4"),
        ("ab\u202egpj.exe", "abgpj.exe"),
        ("\u2066a\u2069\ufeffb\u202a.mp4", "ab.mp4"),
        ("a\ud800b\x7f.mp4", "ab.mp4"),
        ("\u3000 \u00a0", "unnamed"),
        ("\uf8ff \U0010ffff.mp4", "\uf8ff \U0010ffff.mp4"),
    ],
)
def test_client_file_name_is_made_safe_for_display(given: str, shown: str) -> None:
    assert display_name(given) == shown


def test_disk_reserve_is_allocated_and_released(storage: Storage) -> None:
    reserve = storage.root / "reserve"
    assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES
    storage.release_reserve()
    assert not reserve.exists()
    storage.allocate_reserve()
    assert reserve.stat().st_size == RESERVE_BYTES
