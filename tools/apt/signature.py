"""Turn a clear-signed file into the text that a trusted key has signed, by way of gpgv.

gpgv is the verifier that apt itself uses. Only the text that gpgv gives back is returned: what
surrounds the signed part of an `InRelease` is never looked at.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.apt.keyring import weakness
from tools.cli import ToolError

_TIMEOUT_SECONDS = 60
# Status words of gpgv (GnuPG's doc/DETAILS). Each signature yields one of GOODSIG, BADSIG, ERRSIG
# (no key, or a weak digest), EXPSIG, EXPKEYSIG and REVKEYSIG. As for apt, one good one suffices,
# since Debian signs with several keys, old ones among them; and one bad one condemns the file.
_FATAL = frozenset({"BADSIG", "NODATA", "UNEXPECTED"})
_VERDICTS = _FATAL | {"GOODSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"}
_TELLING = _VERDICTS - {"GOODSIG"} | {"NO_PUBKEY"}
# Collisions of these can be made. gpgv itself knows that of MD5 only; apt refuses all three.
_WEAK_DIGESTS = ("MD5", "SHA1", "RIPEMD160")
_STRONG_DIGESTS = frozenset({"8", "9", "10"})  # SHA256, SHA384, SHA512


@dataclass(frozen=True)
class Verifier:
    """How gpgv is started (program and arguments before its own) and the keys it trusts."""

    command: tuple[str, ...]
    keyring: Path

    def signed_text(self, content: bytes, *, name: str) -> str:
        """Return the text that a key of the keyring has signed; `name` is for messages.

        Raise ToolError when there is no good signature (one that has expired, or whose key
        has expired, was revoked or is weak, or whose digest is weak, is not good), when any is bad,
        and when gpgv cannot be run.
        """
        if not self.keyring.is_file():
            raise ToolError(f"{name}: the keyring {self.keyring} does not exist")
        with tempfile.TemporaryDirectory(prefix="gpgv-") as directory:
            signed = Path(directory) / "signed"
            text = Path(directory) / "text"
            signed.write_bytes(content)
            status, complaint = self._run(
                [
                    *(word for digest in _WEAK_DIGESTS for word in ("--weak-digest", digest)),
                    *("--keyring", str(self.keyring.resolve()), "--output", str(text), str(signed)),
                ],
                name=name,
                directory=directory,
            )
            words = [line.split()[1:] for line in status if line.startswith("[GNUPG:] ")]
            weak = [self._weakness(fingerprint, digest) for fingerprint, digest in _good(words)]
            found = {word[0] for word in words}
            if all(weak) or found & _FATAL or not text.is_file():
                reasons = ", ".join([*sorted(found & _TELLING), *filter(None, weak)])
                raise ToolError(
                    f"{name}: no good signature by a key of {self.keyring.name}"
                    f" (gpgv says {reasons or 'nothing'}: {complaint}). The mirror may be broken or"
                    " hostile: use another one, or renew the keyring if Debian has new keys"
                )
            return text.read_text(encoding="utf-8")

    def _weakness(self, fingerprint: str, digest: str) -> str | None:
        if digest not in _STRONG_DIGESTS:
            return f"GOODSIG, but of a digest weaker than SHA256 (OpenPGP's number {digest})"
        found = weakness(self.keyring, fingerprint)
        return None if found is None else f"GOODSIG, but by {found}"

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


def _good(words: Sequence[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield the key's fingerprint and the digest's number of each good signature."""
    verdict = ""
    for word, *rest in words:
        if word in _VERDICTS:
            verdict = word
        # A signature by an expired key is "valid" as well.
        elif word == "VALIDSIG" and verdict == "GOODSIG":
            yield rest[0], rest[7]
