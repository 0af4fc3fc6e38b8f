"""A browser shows the page of the running version, although all files of an image have one time."""

import os
import shutil
import sys
from pathlib import Path

from tests.support import servers
from tests.support.browser import Browser

# uvicorn imports `main` and `app` from the current directory.
_IN = "import os, sys; os.chdir(sys.argv[1]); os.execv(sys.argv[2], sys.argv[2:])"
TEXTS = ("No videos yet", "No films here")
STAMP = (1_795_132_800, 1_795_132_800)


def test_new_version_is_shown_at_the_next_visit(browser: Browser, tmp_path: Path) -> None:
    home, port = tmp_path / "app", servers.free_port()
    home.mkdir()
    for name in ("app", "migrations"):
        shutil.copytree(servers.BACKEND / name, home / name)
    for name in ("main.py", "alembic.ini"):
        shutil.copy(servers.BACKEND / name, home)
    module = home / "app" / "api" / "static" / "library.js"
    within = [sys.executable, "-c", _IN, str(home)]
    sizes = set()
    for text in TEXTS:
        # The next image has another text of the same size, and the same time.
        module.write_text(module.read_text().replace(TEXTS[0], text))
        os.utime(module, STAMP)
        sizes.add(module.stat().st_size)
        with servers.api(tmp_path, log=tmp_path / "log", port=port, within=within) as (url, _):
            browser.open(url)
            browser.until_text(text, "#empty")
    assert len(sizes) == 1
