"""From a file's packets to its clock."""

from fractions import Fraction

from app.video.clock import MAX_ENTRIES, MAX_STRETCHES, Index, scan

TICK = Fraction(1, 1000)
FRAME = Fraction(1, 25)


def packets(*begins: int, count: int = 50) -> list[str]:
    """Return ffprobe's lines for recordings that begin at these timestamps (milliseconds)."""
    lines: list[str] = []
    for begin in begins:
        for number in range(count):
            time = begin + 40 * number
            key = "K_" if number % 10 == 0 else "__"
            lines.append(f"{time},{time},40,{1000 * len(lines)},{key}")
    return lines


def index(lines: list[str], *, start: Fraction = Fraction(0)) -> Index:
    found = scan(lines, tick=TICK, start=start, frame=FRAME, counted=False)
    assert found is not None
    return found


def test_clock_begins_with_the_file_not_with_the_picture() -> None:
    found = index(packets(1500), start=Fraction(1))
    assert [part.time for part in found.stretches] == [500]
    assert found.end == 2500


def test_recordings_follow_each_other_whatever_their_timestamps() -> None:
    found = index(packets(5000, 0, 3_600_000))
    assert [(part.first, part.time) for part in found.stretches] == [
        (5000, 5000),
        (0, 7000),
        (3_600_000, 9000),
    ]
    assert found.end == 11_000
    assert [entry.time for entry in found.entries if entry.stretch == 1] == [
        7000, 7400, 7800, 8200, 8600,
    ]  # fmt: skip


def test_small_gap_is_time_that_passes() -> None:
    found = index(packets(0, 7000))
    assert len(found.stretches) == 1
    assert found.end == 9000


def test_single_packet_with_a_damaged_timestamp_is_no_jump() -> None:
    lines = packets(0)
    lines[20] = "90000000,90000000,40,20000,__"
    found = index(lines)
    assert len(found.stretches) == 1
    assert found.end == 2000


def test_decoding_begins_one_entry_early_but_not_in_another_recording() -> None:
    found = index(packets(0, 0))
    assert found.entry(Fraction(1)).time == 400
    assert found.entry(Fraction(21, 10)).time == 2000  # the first of its recording
    assert found.entry(Fraction(0)).time == 0


def test_packets_without_position_are_reached_from_the_one_before() -> None:
    lines = packets(0)
    lines[10] = "N/A,400,40,N/A,K_"
    assert index(lines).entries[1].position == 9000


def test_stream_without_timestamps_counts_its_pictures() -> None:
    lines = ["N/A,N/A,48000,0,K_", *(f"N/A,N/A,48000,{100 * n},__" for n in range(1, 30))]
    found = scan(lines, tick=FRAME, start=Fraction(0), frame=FRAME, counted=True)
    assert found is not None
    assert (found.end, found.frames, found.prefix) == (30, 30, 100)


def test_file_without_packets_has_no_clock() -> None:
    assert scan([], tick=TICK, start=Fraction(0), frame=FRAME, counted=False) is None


def test_index_of_any_file_is_bounded() -> None:
    long = [f"{40 * n},{40 * n},40,{n},K_" for n in range(5 * MAX_ENTRIES)]
    assert MAX_ENTRIES / 3 < len(index(long).entries) <= MAX_ENTRIES + 1
    jumping = packets(*range(0, 10_000_000, 50_000), count=3)
    assert len(index(jumping).stretches) == MAX_STRETCHES
