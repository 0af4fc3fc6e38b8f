"""Text in video frames: fonts are found, and subtitles are decoded from their character sets."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

_BLACK = "color=black:size=320x120:rate=1:duration=1"


def _drawn(filters: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return a 0/1 mask (height, width) of the pixels a filter brightens on a black frame."""
    source = ["-f", "lavfi", "-i", f"{_BLACK},{filters}", "-frames:v", "1"]
    command = ["ffmpeg", "-v", "warning", *source, "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"not found" not in done.stderr, done.stderr.decode()
    return (np.frombuffer(done.stdout, np.uint8).reshape(120, 320) > 128).astype(np.uint8)


def _width(text: str, font: str) -> int:
    columns = np.flatnonzero(
        _drawn(f"drawtext=text={text}:font={font}:fontcolor=white:fontsize=40").any(axis=0)
    )
    return int(columns[-1] - columns[0])


def test_drawtext_finds_a_proportional_and_a_monospace_font() -> None:
    assert _width("iiiiii", "Sans") < _width("mmmmmm", "Sans") / 2
    narrow, wide = _width("iiiiii", "Monospace"), _width("mmmmmm", "Monospace")
    assert abs(narrow - wide) < wide / 8


# Character sets of subtitle files by Python's name, each with a sample line.
_LINES = {
    "cp1250": "Příliš žluťoučký kůň",
    "cp1251": "Съешь же ещё этих булок",
    "cp1252": "Zwölf Boxkämpfer für 5 €",
    "cp1253": "Ξεσκεπάζω την ψυχοφθόρα",
    "cp1254": "Türkçe ağaç şoför",
    "cp1255": "דג סקרן שט בים",
    "cp1256": "نص حكيم له سر قاطع",
    "cp1257": "Įlinkdama fechtuotojo špaga",
    "cp1258": "Đưa ơn",
    "cp437": "Zwölf Boxkämpfer ½",
    "cp737": "Ξεσκεπαζω",
    "cp850": "Zwölf Boxkämpfer ©",
    "cp852": "Příliš žluťoučký",
    "cp866": "Съешь же ещё",
    "cp874": "เป็นมนุษย์สุดประเสริฐ",
    "iso8859-1": "Zwölf Boxkämpfer",
    "iso8859-2": "Zażółć gęślą jaźń",
    "iso8859-5": "Съешь же",
    "iso8859-9": "Türkçe ağaç",
    "iso8859-15": "Zwölf für 5 €",
    "koi8-r": "Съешь же ещё",
    "koi8-u": "Єхидна ґава їде",
    "shift_jis": "いろはにほへと",
    "cp932": "いろはにほへと①",
    "euc-jp": "いろはにほへと",
    "iso2022-jp": "いろはにほへと",
    "gb2312": "天地玄黄",
    "gbk": "天地玄黃",
    "gb18030": "天地玄黃𠀀",
    "big5": "天地玄黃",
    "big5-hkscs": "天地玄黃嘅",
    "euc-kr": "키스의 고유조건은",
    "cp949": "키스의 고유조건은 똠",
}
# The C library's names where they differ from Python's.
_NAMES = {"cp737": "CP737", "gb2312": "GB2312", "cp949": "UHC", "iso2022-jp": "ISO-2022-JP"}


@pytest.mark.parametrize("encoding", _LINES)
def test_subtitles_are_decoded_from_their_character_set(encoding: str, tmp_path: Path) -> None:
    line = _LINES[encoding]
    source = tmp_path / "old.srt"
    source.write_bytes(f"1\n00:00:00,000 --> 00:00:01,000\n{line}\n\n".encode(encoding))
    name = _NAMES.get(encoding, encoding.replace("iso8859", "iso-8859"))
    command = ["ffmpeg", "-v", "error", "-sub_charenc", name, "-i", str(source), "-f", "srt", "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert line in done.stdout.decode("utf-8")


def test_subtitles_are_burned_into_the_frame(tmp_path: Path) -> None:
    path = tmp_path / "old.srt"
    path.write_bytes("1\n00:00:00,000 --> 00:00:01,000\nЪЫЭ\n\n".encode("cp1251"))
    style = "force_style=Fontsize=80"
    right = _drawn(f"subtitles={path}:charenc=cp1251:{style}")
    wrong = _drawn(f"subtitles={path}:charenc=cp1252:{style}")
    assert right.sum() > 100
    assert (right != wrong).sum() > 100
