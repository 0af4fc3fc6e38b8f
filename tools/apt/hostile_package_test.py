"""A package whose every script tries to run: nothing of it does, and no layer takes it silently."""

import json
import subprocess
from pathlib import Path

import pytest

from tools.apt import deb_layer, system_layer
from tools.archive.debs_for_test import TarMember, write_deb

# All that dpkg and debconf would run or act on (deb-postinst(5) and so on).
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")


def package(folder: Path, mark: Path) -> Path:
    script = f"#!/bin/sh\ntouch '{mark}'\n".encode()
    files = dict.fromkeys(_SCRIPTS, script) | {"triggers": b"activate-noawait ldconfig\n"}
    members = [
        TarMember("./etc/profile.d/eager.sh", script, mode=0o755),
        TarMember("./usr/bin/eager", script, mode=0o755),
    ]
    return write_deb(folder, "eager", members, files=files)


def test_no_script_of_a_package_runs_while_layers_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "it ran"
    deb = package(tmp_path, mark)
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({"mtime": 1, "excluded_paths": []}))
    out = [f"--out={tmp_path / 'layer.tar.gz'}", f"--descriptor={tmp_path / 'layer.json'}"]
    listings = [f"--listing={tmp_path / name}.json" for name in ("eager", "base")]
    common = [f"--lock={lock}", *out]
    assert deb_layer.main([*common, f"--deb={deb}", listings[0]]) == 0

    scripts = tmp_path / "scripts.yaml"
    scripts.write_text("other:\n  does: nothing\n  actions: []\n  reason: a test\n")
    base = write_deb(tmp_path, "base-files")
    assert deb_layer.main([*common, f"--deb={base}", listings[1]]) == 0
    flags = [*common, *listings, f"--maintainer-scripts={scripts}", "--arch=amd64"]
    assert system_layer.main(flags) == 1
    assert "eager" in capsys.readouterr().err
    scripts.write_text(
        "eager:\n  does: touches a file, which nobody needs\n  actions: []\n  reason: a test\n"
    )
    assert system_layer.main(flags) == 0
    assert not mark.exists()

    subprocess.run(["sh", "-c", f"touch '{mark}'"], check=True)
    assert mark.exists(), "the attack would work"
