"""Decoders have no rights: stand-ins for ffprobe and ffmpeg attack the service that starts them."""

import contextlib
import errno
import json
import re
import signal
import socket
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from tests.support import clips, servers, stand_in, web, without
from tests.support.servers import eventually

from app.sandbox import decoder
from app.video import ToolError, probe
from app.video.extract import cut_clip, thumbnail
from app.video.options import Limits
from app.video.process import run, start
from app.worker.confine import OOM_SCORE

VIDEOS = "/api/v1/videos"
SECRET = "hunter2-and-more"
FILES = {"database", "other", "names", "create", "overwrite", "remove"}
NETWORK = {"tcp", "udp", "unix", "abstract", "listen"}
# What succeeds on a kernel that lacks something; never what reaches the secrets in memory.
SUCCESSES = {
    "": set[str](),
    # ffprobe writes nothing, and without Landlock the filter still holds it to that.
    "landlock": {"database", "other", "names"},
    "seccomp": {"chmod", "udp", "unix", "fork"},
    "landlock,seccomp": FILES | NETWORK | {"chmod", "fork", "signal"},
}


@contextlib.contextmanager
def listening(directory: Path) -> Iterator[dict[str, Any]]:
    """Run a server of each kind; yield the addresses."""
    abstract = f"\0{directory}"[:100]
    with contextlib.ExitStack() as stack:
        kinds: dict[str, tuple[int, int, Any]] = {
            "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "unix": (socket.AF_UNIX, socket.SOCK_STREAM, str(directory / "s")),
            "abstract": (socket.AF_UNIX, socket.SOCK_STREAM, abstract),
        }
        addresses = {}
        for name, (family, kind, address) in kinds.items():
            server = stack.enter_context(socket.socket(family, kind))
            server.bind(address)
            if kind == socket.SOCK_STREAM:
                server.listen()
            addresses[name] = server.getsockname() if name == "udp" else address
        yield addresses


def script(path: Path, aim: dict[str, Any]) -> Path:
    """Write the stand-in: a program that finds everything it attacks above its code."""
    code = Path(stand_in.__file__).read_text(encoding="utf-8")
    assert "AIM: dict[str, Any] = {}  # set by the test" in code
    code = code.replace("AIM: dict[str, Any] = {}  # set by the test", f"AIM = {aim!r}")
    path.write_text(f"#!{sys.executable} -S\n{code}", encoding="utf-8")
    path.chmod(0o755)
    return path


def outcomes(log: str) -> dict[str, str]:
    """Return the outcome of each attack from the line that the stand-in printed."""
    line = re.search(r"\{.*\}", log)
    assert line is not None, log
    return {
        name: outcome for outcome, names in json.loads(line[0]).items() for name in names.split()
    }


@pytest.mark.parametrize("missing", SUCCESSES)
def test_stand_in_for_ffprobe_finds_nothing_and_reaches_nobody(
    missing: str, tmp_path: Path, clip: Path
) -> None:
    data, log, port = tmp_path / "data", tmp_path / "log", servers.free_port()
    variables = {
        "GEMINI_API_KEY": SECRET,
        "GEMINI_DAILY_REQUESTS": "0",
        "FFPROBE": str(tmp_path / "ffprobe"),
    }
    within = [sys.executable, without.__file__, missing] if missing else []
    (data / "videos" / "ab").mkdir(parents=True)
    other, victim = data / "videos" / "ab" / "other", data / "victim"
    for path in (other, victim):
        path.write_bytes(b"a video of somebody else")
    with (
        servers.short_directory() as short,
        listening(short) as addresses,
        servers.api(data, log=log, variables=variables, port=port, within=within) as (url, process),
    ):
        aim = {
            "secret": SECRET, "database": str(data / "backend.db"), "other": str(other),
            "victim": str(victim), "directory": str(other.parent), "tcp": ["127.0.0.1", port],
            **addresses,
        }  # fmt: skip
        script(tmp_path / "ffprobe", aim)
        with clip.open("rb") as file:
            reply = web.post(url + VIDEOS, files={"file": file}, timeout=60)
        assert reply.status_code == 415, reply.text
        found = outcomes(reply.json()["log"])
        assert set(found) == set(stand_in.ATTACKS)
        assert {name for name, outcome in found.items() if outcome == "yes"} == {
            "input", *SUCCESSES[missing],
        }  # fmt: skip
        assert set(found.values()) <= {"yes", "EPERM", "EACCES"}, found
        assert process.popen.poll() is None
        isolation = web.get(f"{url}/health").json()["decoder_isolation"]
        lacking = list(filter(None, missing.split(",")))
        assert decoder.missing(isolation) == lacking
        assert {"no-new-privileges", "no-capabilities", "hidden-service"} <= set(isolation)
        events = [json.loads(line) for line in log.read_text().splitlines()]
        (said,) = [line for line in events if line.get("event") == "decoders.isolated"]
        assert (said["isolation"], said["missing"]) == (isolation, lacking)
        assert said["level"] == ("warning" if lacking else "info")


def test_secrets_of_the_service_are_hidden_from_processes_of_its_user(
    tmp_path: Path, clip: Path
) -> None:
    variables = {"GEMINI_API_KEY": SECRET, "GEMINI_DAILY_REQUESTS": "0"}
    with servers.api(tmp_path / "data", log=tmp_path / "log", variables=variables) as (
        url,
        process,
    ):
        with clip.open("rb") as file:
            video = web.post(url + VIDEOS, files={"file": file}, timeout=60).json()

        def done() -> bool:
            analysis = web.get(f"{url}{VIDEOS}/{video['id']}").json()["analysis"]
            return bool(analysis["status"] == "done")

        eventually(done)
        tasks = Path(f"/proc/{process.popen.pid}/task").iterdir()
        (worker,) = " ".join((task / "children").read_text() for task in tasks).split()
        assert b"app.worker.child" in Path(f"/proc/{worker}/cmdline").read_bytes()
        for pid in (str(process.popen.pid), worker):
            for name in ("environ", "mem", "maps"):
                with pytest.raises(PermissionError):
                    Path(f"/proc/{pid}/{name}").read_bytes()
            with pytest.raises(PermissionError):
                Path(f"/proc/{pid}/fd/0").readlink()
            score = Path(f"/proc/{pid}/oom_score_adj").read_text().strip()
            assert score == (str(OOM_SCORE) if pid == worker else "0")


def test_decoder_reads_its_input_and_writes_its_output_and_no_other_file(tmp_path: Path) -> None:
    source, output, other = (tmp_path / name for name in ("source", "output", "other"))
    for path in (source, output, other):
        path.write_bytes(b"old")
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable} -S\n"
        "import sys\n"
        "for path, mode in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    try:\n"
        "        print(open(path, mode).close())\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
    )
    program.chmod(0o755)
    tried = [(source, "rb"), (source, "r+b"), (output, "wb"), (output, "rb"), (other, "rb"),
             (other, "wb"), (tmp_path / "new", "wb"), (Path("/dev/null"), "rb"),
             (Path("/etc/passwd"), "rb")]  # fmt: skip
    words = [str(word) for pair in tried for word in pair]
    done = run([str(program), *words], timeout=20, read=(source,), write=(output,))
    no = str(errno.EACCES)
    assert done.output.decode().split() == ["None", no, "None", "None", no, no, no, "None", no], (
        done.error_tail
    )
    assert output.read_bytes() == b""
    done = run([str(program), str(other), "wb"], timeout=20, read=(source,))
    assert done.output.decode().strip() == str(errno.EPERM)


def test_program_ends_when_nobody_reads_its_output() -> None:
    # As Python ignores SIGPIPE, so would the programs that it becomes.
    with start(["yes"], limits=Limits()) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(20) == -signal.SIGPIPE


def test_program_starts_no_other_unless_it_is_a_script(tmp_path: Path) -> None:
    code = "import os; os.execv('/usr/bin/ffprobe', ['ffprobe', '-version'])"
    done = run([sys.executable, "-S", "-c", code], timeout=20)
    assert "PermissionError: [Errno 13]" in done.error_tail
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nexec ffprobe "$@"\n')
    wrapper.chmod(0o755)
    assert b"ffprobe version" in run([str(wrapper), "-version"], timeout=20).output


def test_memory_of_programs_is_limited() -> None:
    program = "x = bytearray(1 << 30); print('allocated')"
    finished = run([sys.executable, "-c", program], timeout=20, limits=Limits(memory=512 << 20))
    assert finished.code != 0
    assert "MemoryError" in finished.error_tail


def test_real_programs_work_without_rights(tmp_path: Path, clip: Path) -> None:
    tools = clips.tools()
    facts = probe(clip, tools=tools)
    assert thumbnail(clip, tools=tools, time=Fraction(1), facts=facts).startswith(b"\xff\xd8")
    target = tmp_path / "clip.mp4"
    cut_clip(clip, tools=tools, start=Fraction(0), end=Fraction(1), target=target)
    assert probe(target, tools=tools).playable


def test_program_that_cannot_be_started_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    for program, reason in (
        ("/nowhere/ffprobe", "No such file or directory"),
        ("no-such-ffprobe", "No such file or directory"),
        ("/etc/passwd", "Permission denied"),
        (str(broken), "Exec format error"),
    ):
        with pytest.raises(ToolError) as caught:
            run([program], timeout=5)
        assert str(caught.value) == f"cannot start {program} ({reason})"
    with pytest.raises(OSError, match=r"OSError: \[Errno 22\] Invalid argument"):
        decoder.start(["true"], environment={}, limits={999: 1})
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ToolError, match=r"cannot start true \(its launcher exited with code 1\)"):
        run(["true"], timeout=5)
