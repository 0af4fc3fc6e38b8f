"""What is accepted: one table, from which ffmpeg's allowlists and the sentence for users are made.

ffmpeg can read far more, much of it from games and long-forgotten programs, with code that hardly
anybody tests. None of that is reachable: a demuxer or decoder that no row names is not opened.
"""

from dataclasses import dataclass

# What cameras, phones, editors, screen recorders and players of the last decades wrote. Names of
# ffmpeg's decoders; those of graphics cards and second ones for the same codec are left out.
_MPEG = (
    "mpeg1video",
    "mpeg2video",
    "mpeg4",
    "h261",
    "h263",
    "h263i",
    "h263p",
    "h264",
    "hevc",
    "vc1",
)
_WEB = ("vp8", "vp9", "libdav1d", "av1", "theora")
_MICROSOFT = ("msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "wmv3", "mss1", "mss2",
              "msvideo1", "msrle", "msa1")  # fmt: skip
_FLASH = ("flv", "flashsv", "flashsv2", "vp3", "vp5", "vp6", "vp6a", "vp6f")
_CAMERA = ("mjpeg", "mjpegb", "jpeg2000", "dvvideo", "svq1", "svq3", "cinepak", "indeo2", "indeo3",
           "indeo4", "indeo5", "aic", "amv", "sp5x")  # fmt: skip
_EDITING = ("prores", "dnxhd", "cfhd", "hap", "v210", "v308", "v408", "v410", "r210",
            "rawvideo", "huffyuv", "ffvhuff", "ffv1", "utvideo", "lagarith", "magicyuv", "hq_hqa",
            "hqx", "cllc", "speedhq", "qtrle", "rpza", "smc", "8bps", "png")  # fmt: skip
_SCREEN = ("camtasia", "tscc2", "camstudio", "zmbv", "g2m", "fraps", "dxtory", "vmnc", "fic",
           "scpr", "screenpresso", "rasc", "mszh", "zlib")  # fmt: skip
_REAL = ("rv10", "rv20", "rv30", "rv40")
_ANY = _MPEG + _WEB + _MICROSOFT + _CAMERA + _EDITING + _SCREEN
_AUDIO = (
    "aac", "aac_latm", "ac3", "eac3", "dca", "truehd", "mlp", "alac", "flac", "opus", "vorbis",
    "speex", "mp1float", "mp2float", "mp3float", "mp3adufloat", "mp3on4float", "wavpack", "tta",
    "ape", "als", "wmav1", "wmav2", "wmapro", "wmalossless", "wmavoice", "cook", "sipr", "ralf",
    "real_144", "real_288", "atrac3", "atrac3plus", "nellymoser", "qdm2", "qdmc", "mace3", "mace6",
    "imc", "iac", "truespeech", "on2avc", "amrnb", "amrwb", "qcelp", "evrc", "gsm", "gsm_ms",
    "g722", "g723_1", "g726", "g726le", "g729", "ilbc", "s302m", "dvaudio", "dolby_e", "adpcm_ms",
    "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_ima_amv", "adpcm_swf", "adpcm_yamaha", "adpcm_adx",
    "adpcm_ct", "pcm_alaw", "pcm_mulaw", "pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_u16le",
    "pcm_u16be", "pcm_s24le", "pcm_s24be", "pcm_u24le", "pcm_u24be", "pcm_s32le", "pcm_s32be",
    "pcm_u32le", "pcm_u32be", "pcm_s64le", "pcm_s64be", "pcm_f16le", "pcm_f24le", "pcm_f32le",
    "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_s8_planar", "pcm_s16le_planar", "pcm_s16be_planar",
    "pcm_s24le_planar", "pcm_s32le_planar", "pcm_bluray", "pcm_dvd",
)  # fmt: skip
# ffprobe refuses a file if it may not open the decoder of one of its streams.
_SUBTITLES = ("ass", "ssa", "subrip", "srt", "text", "webvtt", "mov_text", "cc_dec", "dvbsub",
              "dvdsub", "pgssub", "xsub", "stl", "libzvbi_teletextdec")  # fmt: skip
_COVERS = ("mjpeg", "png", "bmp", "gif")


@dataclass(frozen=True)
class Format:
    """A format as users know it, ffmpeg's demuxer for it, and the decoders of its pictures."""

    name: str
    demuxer: str
    decoders: tuple[str, ...]


ACCEPTED_FORMATS = (
    Format("MP4", "mov", _ANY),
    Format("MOV", "mov", _ANY),
    Format("Matroska", "matroska", (*_ANY, *_REAL)),
    Format("WebM", "matroska", _WEB),
    Format("AVI", "avi", (*_ANY, *_FLASH)),
    Format("MPEG-TS", "mpegts", _MPEG),
    Format("MPEG-PS", "mpeg", _MPEG),
    Format("FLV", "flv", (*_FLASH, *_MPEG)),
    Format("Ogg", "ogg", _WEB),
    Format("WMV", "asf", _MICROSOFT),
    Format("MXF", "mxf", _ANY),
    Format("GIF", "gif", ("gif",)),
    Format("animated PNG", "apng", ("apng",)),
    Format("RealMedia", "rm", _REAL),
    Format("DV", "dv", ("dvvideo",)),
    Format("NUT", "nut", _ANY),
    Format("IVF", "ivf", _WEB),
    Format("Y4M", "yuv4mpegpipe", ("rawvideo", "wrapped_avframe")),
    Format("Motion JPEG", "mjpeg", ("mjpeg",)),
    Format("raw H.264", "h264", ("h264",)),
    Format("H.265", "hevc", ("hevc",)),
    Format("MPEG-4", "m4v", ("mpeg4",)),
    Format("MPEG-2 video", "mpegvideo", ("mpeg1video", "mpeg2video")),
)
# They never hold video, but "no video stream" is a better error than "not accepted".
_SOUND_ONLY = ("mp3", "wav", "flac", "aac")

_RAW = 4
_names = [known.name for known in ACCEPTED_FORMATS]
ACCEPTED = (
    f"{', '.join(_names[:-_RAW])}, and {', '.join(_names[-_RAW:-2])} and {' or '.join(_names[-2:])}"
)
"""The formats in a sentence for users."""
DEMUXERS = tuple(dict.fromkeys([known.demuxer for known in ACCEPTED_FORMATS])) + _SOUND_ONLY
DECODERS = tuple(
    dict.fromkeys(
        [name for known in ACCEPTED_FORMATS for name in known.decoders]
        + [*_AUDIO, *_SUBTITLES, *_COVERS]
    )
)
PROTOCOLS = ("file", "subfile", "concat")  # the last two to start in the middle of a file
RESTRICTIONS = (
    "-protocol_whitelist", ",".join(PROTOCOLS),
    "-format_whitelist", ",".join(DEMUXERS),
    "-codec_whitelist", ",".join(DECODERS),
)  # fmt: skip
"""Arguments for every run of ffmpeg and ffprobe, so that it opens nothing but the one file."""
