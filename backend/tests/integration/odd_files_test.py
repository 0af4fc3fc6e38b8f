"""Files that are cut off, damaged, encrypted, in HDR, or in less common formats."""

import subprocess
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from tests.support import clips

from app.video import (
    Analysis,
    Area,
    Parameters,
    Polygon,
    Probe,
    Region,
    UnreadableVideoError,
    analyse,
    cut_clip,
    probe,
    thumbnail,
)
from app.video.formats import ACCEPTED_FORMATS, DECODERS


def look(
    path: Path,
    *,
    zones: tuple[Area, ...] = (),
    masks: tuple[Area, ...] = (),
    facts: Probe | None = None,
) -> Analysis:
    return analyse(
        path,
        tools=clips.tools(),
        parameters=Parameters(zones=zones, masks=masks),
        progress=lambda _share: None,
        checkpoint=lambda: None,
        facts=facts,
    )


def spans(found: Analysis) -> list[tuple[float, float]]:
    return [(round(float(event.start), 1), round(float(event.end), 1)) for event in found.events]


@pytest.fixture(scope="module")
def film(clip_dir: Path) -> Path:
    """Return ten seconds in which a block crosses from 2 to 4 s and from 6 to 8 s."""
    return clips.crossing(clip_dir / "odd-base.mp4")


@pytest.mark.parametrize("suffix", [".flv", ".mkv"])
def test_recording_that_was_cut_off_keeps_its_results_and_has_a_warning(
    suffix: str, film: Path, clip_dir: Path
) -> None:
    whole = clips.with_tone(film, clip_dir / f"cut-whole{suffix}", seconds=10)
    assert look(whole).warning is None
    part = look(clips.cut_off(whole, clip_dir / f"cut-off{suffix}", keep=0.55))
    assert spans(part)[0] == pytest.approx((2, 4), abs=0.2)
    assert part.warning is not None
    assert "but its duration is 10.0 s; the file is truncated or damaged" in part.warning
    assert float(part.duration) == pytest.approx(5.5, abs=1)


def test_sound_longer_than_the_picture_is_not_truncation(film: Path, clip_dir: Path) -> None:
    found = look(clips.with_tone(film, clip_dir / "long-tone.flv", seconds=20))
    assert found.warning is None
    assert len(found.events) == 2


def test_file_damaged_in_places_has_a_warning(film: Path, clip_dir: Path) -> None:
    source = clips.converted(film, clip_dir / "intact.ts", "-c:v", "mpeg2video", "-q:v", "3")
    content = bytearray(source.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 188 * 20, 188):
        content[place + 40 : place + 60] = b"\x55" * 20
    damaged = clip_dir / "damaged.ts"
    damaged.write_bytes(content)
    found = look(damaged)
    assert found.warning is not None
    assert found.warning.startswith("the file is damaged in places (")
    assert found.log
    assert str(damaged) not in found.log
    assert look(source).warning is None


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_is_shown_as_ordinary_displays_show_it(
    transfer: str, clip_dir: Path, tmp_path: Path
) -> None:
    path = clips.hdr(clip_dir / f"{transfer}.mp4", transfer=transfer)
    facts = probe(path, tools=clips.tools())
    assert facts.hdr
    assert not facts.playable

    def check(source: Path) -> None:
        jpeg = thumbnail(source, tools=clips.tools(), time=Fraction(1, 2), width=160)
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        # Unconverted, the shadow would be 54 or brighter.
        assert picture[:, 10:60].mean() < 45
        assert picture[:, 100:150].mean() > 150

    check(path)
    clip = tmp_path / "clip.mp4"
    cut_clip(path, tools=clips.tools(), start=Fraction(0), end=Fraction(1), target=clip)
    made = probe(clip, tools=clips.tools())
    assert (made.hdr, made.playable) == (False, True)
    check(clip)


def test_encrypted_video_is_called_encrypted(film: Path, clip_dir: Path) -> None:
    path = clips.encrypted(film, clip_dir / "encrypted.mp4")
    with pytest.raises(UnreadableVideoError, match="the video is encrypted"):
        probe(path, tools=clips.tools())


H264 = ("-c:v", "libx264", "-preset", "ultrafast")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "3")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "3")
# Threads of libvpx wait in loops: 3 s of CPU instead of 0.2.
VP8 = (
    "-c:v", "libvpx", "-threads", "1", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M",
)  # fmt: skip
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0")
# A file of each format that the documentation promises.
FILES = {
    "MP4": ("x.mp4", H264),
    "MOV": ("x.mov", ("-c:v", "prores_ks", "-profile:v", "0")),
    "Matroska": ("x.mkv", H264),
    "WebM": ("x.webm", VP8),
    "AVI": ("x.avi", ("-c:v", "msmpeg4v2", "-q:v", "3")),
    "MPEG-TS": ("x.ts", H264),
    "MPEG-PS": ("x.mpg", MPEG2),
    "FLV": ("x.flv", ("-c:v", "flv", "-q:v", "3")),
    "Ogg": ("x.ogv", ("-c:v", "libtheora", "-q:v", "6")),
    "WMV": ("x.wmv", ("-c:v", "wmv2", "-q:v", "3")),
    "MXF": ("x.mxf", MPEG2),
    "GIF": ("x.gif", ("-r", "10")),
    # "-r" would choose frames up to two earlier, depending on the version of ffmpeg.
    "animated PNG": ("x.apng", ("-vf", "framestep=2", "-plays", "0")),
    "RealMedia": ("x.rm", ("-c:v", "rv20", "-vf", "scale=352:288")),
    "DV": ("x.dv", ("-vf", "scale=720:576,setsar=1", "-pix_fmt", "yuv420p", "-c:v", "dvvideo")),
    "NUT": ("x.nut", ("-c:v", "ffv1")),
    "IVF": ("x.ivf", VP8),
    "Y4M": ("x.y4m", ("-pix_fmt", "yuv420p")),
    "Motion JPEG": ("x.mjpeg", ("-c:v", "mjpeg", "-q:v", "3")),
    "raw H.264": ("x.h264", H264),
    "H.265": ("x.h265", HEVC),
    "MPEG-4": ("x.m4v", MPEG4),
    "MPEG-2 video": ("x.m2v", MPEG2),
}


def test_every_accepted_format_is_tested_and_promised() -> None:
    assert list(FILES) == [known.name for known in ACCEPTED_FORMATS]


@pytest.mark.parametrize("name", FILES)
def test_accepted_formats_are_analysed(name: str, film: Path, clip_dir: Path) -> None:
    file, codec = FILES[name]
    made = clips.converted(film, clip_dir / file, "-t", "5", *codec)
    path = made.with_suffix("")  # the content counts, not the name
    made.rename(path)
    facts = probe(path, tools=clips.tools())
    ((start, end),) = spans(look(path, facts=facts))
    assert (start, end) == pytest.approx((2, 4), abs=0.3)
    jpeg = thumbnail(path, tools=clips.tools(), time=Fraction(3), facts=facts)
    picture: npt.NDArray[np.uint8] | None = np.asarray(
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8
    )
    assert picture is not None
    assert clips.block_time(picture) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("suffix", [".h264", ".h265", ".m2v"])
def test_stream_without_container_has_the_rate_it_states(suffix: str, clip_dir: Path) -> None:
    plain = clips.pattern(clip_dir / "ntsc-base.mkv", rate="30000/1001", size="160x120")
    codec = {".h264": H264, ".h265": HEVC, ".m2v": MPEG2}[suffix]
    facts = probe(clips.converted(plain, clip_dir / f"ntsc{suffix}", *codec), tools=clips.tools())
    assert (facts.frame_rate, facts.frames) == (Fraction(30000, 1001), 60)
    assert facts.duration == Fraction(60 * 1001, 30000)


def test_refused_kinds_are_named_with_what_is_accepted(film: Path, tmp_path: Path) -> None:
    image = clips.converted(film, tmp_path / "image.jpg", "-frames:v", "1")
    image = image.rename(tmp_path / "image")  # the content counts, not the name
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na.ts\n#EXT-X-ENDLIST\n")
    for path, kind in ((image, r"an image \(JPEG\)"), (playlist, "an HLS playlist")):
        with pytest.raises(
            UnreadableVideoError, match=f"^{kind} is not accepted; accepted are MP4"
        ):
            probe(path, tools=clips.tools())


@pytest.mark.parametrize(
    ("codec", "options"),
    [("asv1", ("-c:v", "asv1")), ("sonic", ("-f", "lavfi", "-i", "sine", "-c:a", "sonic"))],
)
def test_refused_codecs_are_named_with_what_is_accepted(
    codec: str, options: tuple[str, ...], film: Path, tmp_path: Path
) -> None:
    path = clips.converted(film, tmp_path / "x.nut", *options, "-t", "1", "-strict", "-2")
    with pytest.raises(
        UnreadableVideoError,
        match=f"^a stream with the codec '{codec}' is not accepted; accepted are MP4",
    ) as caught:
        probe(path, tools=clips.tools())
    assert "whitelist" not in (caught.value.log or "")


def test_allowlist_names_decoders_of_this_ffmpeg() -> None:
    shown = subprocess.run(
        [clips.tools().ffmpeg, "-v", "error", "-decoders"], capture_output=True, check=True
    )
    known = {word for line in shown.stdout.decode().splitlines() for word in line.split()[1:2]}
    assert set(DECODERS) - known == set()


def test_motion_is_found_in_several_zones_and_not_in_masks(film: Path) -> None:
    left, right = Region(0, 0.3, 0.3, 0.5), Polygon(((0.7, 0.2), (1, 0.2), (1, 0.9), (0.7, 0.9)))
    both = look(film, zones=(left, right))
    # The block needs 0.6 s through each zone, and 0.5 s from one to the other.
    assert [start for start, _ in spans(both)] == pytest.approx([2, 6], abs=0.3)
    assert all(box.x + box.width < 0.35 or box.x > 0.65 for event in both.events
               for box in event.boxes)  # fmt: skip
    assert look(film, masks=(Region(0, 0.3, 1, 0.5),)).events == ()
    half = look(film, masks=(Region(0, 0, 0.5, 1),))
    assert [start for start, _ in spans(half)] == pytest.approx([3, 7], abs=0.3)
    assert all(box.x >= 0.48 for event in half.events for box in event.boxes)
    assert look(film, zones=(left,), masks=(Polygon(((0, 0), (0.4, 0), (0.32, 0.75), (0, 0.75))),),
                ).events == ()  # fmt: skip
