"""Turn a clear-signed file into the text that a trusted key has signed, by way of gpgv.

gpgv is the verifier that apt itself uses. Only the text that gpgv gives back is returned: what
surrounds the signed part of an `InRelease` is never looked at.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cli import ToolError

_TIMEOUT_SECONDS = 60
# Status words of gpgv (GnuPG's doc/DETAILS). Each signature yields one of GOODSIG, BADSIG, ERRSIG
# (no key), EXPSIG, EXPKEYSIG and REVKEYSIG. As for apt, one good one suffices, since Debian signs
# with several keys, old ones among them; and one bad one condemns the file.
_WANTED = frozenset({"GOODSIG", "VALIDSIG"})
_FATAL = frozenset({"BADSIG", "NODATA", "UNEXPECTED"})
_TELLING = _FATAL | {"ERRSIG", "EXPSIG", "EXPKEYSIG", "NO_PUBKEY", "REVKEYSIG"}


@dataclass(frozen=True)
class Verifier:
    """How gpgv is started (program and arguments before its own) and the keys it trusts."""

    command: tuple[str, ...]
    keyring: Path

    def signed_text(self, content: bytes, *, name: str) -> str:
        """Return the text that a key of the keyring has signed; `name` is for messages.

        Raise ToolError when there is no good signature (one that has expired, or whose key
        has expired or was revoked, is not good), when any is bad, and when gpgv cannot be run.
        """
        if not self.keyring.is_file():
            raise ToolError(f"{name}: the keyring {self.keyring} does not exist")
        with tempfile.TemporaryDirectory(prefix="gpgv-") as directory:
            signed = Path(directory) / "signed"
            text = Path(directory) / "text"
            signed.write_bytes(content)
            status, complaint = self._run(
                ["--keyring", str(self.keyring.resolve()), "--output", str(text), str(signed)],
                name=name,
                directory=directory,
            )
            words = {line.split()[1] for line in status if line.startswith("[GNUPG:] ")}
            if not words >= _WANTED or words & _FATAL or not text.is_file():
                found = ", ".join(sorted(words & _TELLING))
                raise ToolError(
                    f"{name}: no good signature by a key of {self.keyring.name}"
                    f" (gpgv says {found or 'nothing'}: {complaint}). The mirror may be broken or"
                    " hostile: use another one, or renew the keyring if Debian has new keys"
                )
            return text.read_text(encoding="utf-8")

    def _run(self, arguments: Sequence[str], *, name: str, directory: str) -> tuple[list[str], str]:
        try:
            # A private home keeps a user's own GnuPG settings and keys out of the verdict.
            done = subprocess.run(
                [*self.command, "--homedir", directory, "--status-fd", "1", *arguments],
                capture_output=True,
                check=False,
                env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
                timeout=_TIMEOUT_SECONDS,
                text=True,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolError(
                f"{name}: cannot run gpgv as {' '.join(self.command)!r}: {error}"
            ) from error
        return done.stdout.splitlines(), done.stderr.strip().replace("\n", "; ")
