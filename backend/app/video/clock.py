"""One clock per file: seconds since its first packet, whatever timestamps the file carries.

Most containers hold an index, and their timestamps count from a known start. Streams made for
broadcasting (MPEG-TS, MPEG-PS) hold no index, and their timestamps may restart or jump, because a
recorder was restarted or files were joined. Raw video streams have no timestamps at all. Such a
file is scanned once; the result says where its timestamps lie on the clock, and at which byte a
picture can be reached.

    packets → Stretch, Stretch …: timestamps run on within each, and jump from one to the next
            → entries: bytes from which decoding can begin

`Index.filter` puts that mapping into an ffmpeg expression, so that every program run for a file
uses the same clock.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

# Timestamps that go back by more, or ahead by more, begin a new stretch; as in ffmpeg's own tools.
BACK_S, AHEAD_S = Fraction(1, 10), Fraction(10)
MAX_STRETCHES = 100
MAX_ENTRIES = 4000
_TERMS = 50


@dataclass(frozen=True)
class Stretch:
    """A part of a file in which timestamps run on. All but `position` in ticks."""

    first: int
    """The lowest timestamp."""
    last: int
    """The highest timestamp."""
    time: int
    """Time of `first` on the clock."""
    position: int
    """The byte at which its first packet begins."""


@dataclass(frozen=True)
class Entry:
    """A place from which decoding can begin."""

    time: int
    """On the clock, in ticks."""
    position: int
    """In bytes."""
    stretch: int
    """Number of its stretch."""


@dataclass(frozen=True)
class Index:
    """The clock of a scanned file, and where to find its pictures."""

    tick: Fraction
    """Seconds."""
    stretches: tuple[Stretch, ...]
    entries: tuple[Entry, ...]
    end: int
    """When the last picture ends, in ticks."""
    frames: int
    counted: bool = False
    """Whether the stream has no timestamps: a tick is one picture, counted from where reading
    starts."""
    prefix: int = 0
    """Number of bytes at the start that decoding needs from anywhere (the parameters of a raw
    stream, with its first picture)."""

    def entry(self, time: Fraction) -> Entry:
        """Return the place from which to decode the picture shown at `time` (seconds).

        It is the second last one before: where a program starts to read, it may miss the tables
        that announce the first picture.
        """
        ticks = time / self.tick
        before = [entry for entry in self.entries if entry.time <= ticks][-2:]
        chosen = before or list(self.entries[:1])
        return next(entry for entry in chosen if entry.stretch == chosen[-1].stretch)

    def video_filter(self, entry: Entry, *, start: Fraction = Fraction(0)) -> str:
        """Return the filter that sets the clock of pictures read from `entry`, minus `start`."""
        shift = -round(start / self.tick)
        if self.counted:
            # The prefix adds one picture, unless reading starts there.
            return f"setpts=PTS+{entry.time + shift - (entry.position > 0)}"
        return f"setpts={self._expression('PTS', entry.stretch, unit=Fraction(1), shift=shift)}"

    def audio_filter(self, entry: Entry, *, start: Fraction = Fraction(0)) -> str:
        """Return the same for sound, whose ticks differ."""
        shift = -round(start / self.tick)
        seconds = self._expression("T", entry.stretch, unit=self.tick, shift=shift)
        return f"asetpts=round(({seconds})/TB)"

    def _expression(self, name: str, number: int, *, unit: Fraction, shift: int) -> str:
        def scaled(ticks: int | Fraction) -> str:
            value = ticks * unit
            return str(value) if value.denominator == 1 else f"{float(value):.9f}"

        parts = self.stretches[number:]
        if len(parts) == 1:
            return f"{name}+{scaled(parts[0].time - parts[0].first + shift)}"
        # Variable 0 holds the number of the stretch. After a jump it is the nearest later one that
        # has such timestamps, since a stretch may have no picture that can be decoded.
        before = "PREV_INPTS" if name == "PTS" else "PREV_INT"
        back, ahead = BACK_S / self.tick, AHEAD_S / self.tick
        choices = [
            f"if(gt({later}\\,ld(0))*between({name}\\,{scaled(part.first)}\\,{scaled(part.last)})"
            f"\\,st(1\\,{later}))"
            for later, part in reversed(list(enumerate(parts)))
            if later
        ]
        jumped = f"lt({name}\\,{before}-{scaled(back)})+gt({name}\\,{before}+{scaled(ahead)})"
        offsets = [
            f"eq(ld(0)\\,{later})*({scaled(part.time - part.first + shift)})"
            for later, part in enumerate(parts)
        ]
        then = "\\;"
        move = f"if(not(isnan({before}))*({jumped})\\,st(0\\,ld(1)))"
        moved = f"{name}+{_chain(offsets, '+')}"
        return then.join(["st(1\\,ld(0))", _chain(choices, then), move, moved])


def _chain(terms: list[str], operator: str) -> str:
    """Join terms in groups: av_expr_parse of ffmpeg refuses a hundred in a row."""
    while len(terms) > _TERMS:
        terms = [
            f"({operator.join(terms[first : first + _TERMS])})"
            for first in range(0, len(terms), _TERMS)
        ]
    return operator.join(terms)


@dataclass(frozen=True)
class _Packet:
    pts: int
    dts: int
    duration: int
    position: int
    key: bool


class _Stretching:
    """A stretch to which packets are still added."""

    def __init__(self, packet: _Packet, *, position: int) -> None:
        self.first = self.last = packet.pts
        self.dts = packet.dts
        self.position = position
        self.keys: list[tuple[int, int]] = []

    def follows(self, packet: _Packet, *, back: Fraction, ahead: Fraction) -> bool:
        return self.dts - back <= packet.dts <= self.dts + ahead

    def add(self, packet: _Packet, *, position: int) -> None:
        self.first, self.last = min(self.first, packet.pts), max(self.last, packet.pts)
        self.dts = max(self.dts, packet.dts)
        if packet.key:
            self.keys.append((packet.dts, position))
            if len(self.keys) > MAX_ENTRIES:
                del self.keys[1::2]


def scan(
    lines: Iterable[str], *, tick: Fraction, start: Fraction, frame: Fraction, counted: bool
) -> Index | None:
    """Index a file from its packets, or return None if it has none.

    Each line holds a packet of the video stream as ffprobe prints it: pts, dts, duration, position
    and flags. `start` is the timestamp that is zero on the clock, `frame` the usual duration of a
    picture, both in seconds. With `counted` packets have no timestamps.
    """
    back, ahead = BACK_S / tick, AHEAD_S / tick
    usual = max(1, round(frame / tick))
    found: list[_Stretching] = []
    held: _Packet | None = None  # the first packet after a jump: is it the packet or the clock?
    position = count = second = 0
    for packet in _packets(lines, counted=counted):
        count += 1
        if packet.position >= 0:
            position = packet.position
            second = second if second or position == 0 else position
        if not found:
            found.append(_Stretching(packet, position=position))
        if not found[-1].follows(packet, back=back, ahead=ahead):
            if held is None or not 0 <= packet.dts - held.dts + back <= ahead:
                held, held_at = packet, position
                continue
            if len(found) < MAX_STRETCHES:
                found.append(_Stretching(held, position=held_at))
                found[-1].add(held, position=held_at)
        held = None
        found[-1].add(packet, position=position)
    if not found:
        return None
    stretches, entries, time = [], [], 0
    for number, part in enumerate(found):
        if number == 0:
            time = 0 if counted else part.first - round(start / tick)
        stretches.append(Stretch(part.first, part.last, time, part.position))
        entries += [Entry(time + dts - part.first, at, number) for dts, at in part.keys]
        time += part.last - part.first + usual
    return Index(
        tick=tick,
        stretches=tuple(stretches),
        entries=tuple(_thinned(entries)) or (Entry(0, 0, 0),),
        end=time,
        frames=count,
        counted=counted,
        prefix=second if counted else 0,
    )


def _packets(lines: Iterable[str], *, counted: bool) -> Iterator[_Packet]:
    number = 0
    for line in lines:
        fields = line.split(",")
        if len(fields) < 5:
            continue  # side data
        position = int(fields[3]) if fields[3].isdigit() else -1
        key = "K" in fields[4]
        if counted:
            yield _Packet(number, number, 1, position, key)
            number += 1
            continue
        pts, dts = (int(text) if text.lstrip("-").isdigit() else None for text in fields[:2])
        if dts is None and pts is None:
            continue
        known = pts if pts is not None else dts
        assert known is not None  # noqa: S101 - checked above
        yield _Packet(known, known if dts is None else dts, 0, position, key)


def _thinned(entries: list[Entry]) -> list[Entry]:
    while len(entries) > MAX_ENTRIES:
        # The first entry of each stretch must stay.
        kept = [later for number, (earlier, later) in enumerate(pairwise(entries))
                if number % 2 or earlier.stretch != later.stretch]  # fmt: skip
        if len(kept) + 1 >= len(entries):
            break
        entries = [entries[0], *kept]
    return entries
