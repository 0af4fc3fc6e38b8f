"""Licences as packages state them → SPDX expressions.

A statement with one clear meaning becomes SPDX's identifier. What is ambiguous ("BSD", "Artistic",
"Dual License") or unknown to SPDX becomes a LicenseRef, which stands for the text that the package
has, or for the reason why there is none: a wrong licence in an SBOM is worse than none. Identifiers
and expressions are checked by the library `license-expression`.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from license_expression import ExpressionError, Licensing, get_spdx_licensing

# Short names of debian/copyright (DEP-5) that SPDX spells otherwise.
_DEP5 = {
    "Apache-2": "Apache-2.0",
    "BSD-1-clause": "BSD-1-Clause",
    "BSD-2-clause": "BSD-2-Clause",
    "BSD-3-clause": "BSD-3-Clause",
    "BSD-4-clause": "BSD-4-Clause",
    "BSL-1": "BSL-1.0",
    "CC0": "CC0-1.0",
    "CC0-1": "CC0-1.0",
    "Expat": "MIT",
    "ZLIB": "Zlib",
    "zlib": "Zlib",
}
_GNU = re.compile(r"(A?GPL|LGPL|GFDL)-(\d)(?:\.(\d))?(\+?)")
# Classifiers that name exactly one licence, and texts that people write for it.
_NAMED = {
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "New BSD": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
}
_WORD = re.compile(r"[A-Za-z0-9.+-]+")
_CLASSIFIER = "License :: OSI Approved :: "
_COPYRIGHT = re.compile(r"(?i)copyright\b.*\d{4}|©|\(c\)\s*\d{4}")


@dataclass(frozen=True)
class Licence:
    """An SPDX expression, and the text behind each LicenseRef in it."""

    expression: str
    texts: tuple[tuple[str, str], ...] = ()


def reference(owner: str, text: str) -> Licence:
    """Return a licence that is not on SPDX's list; equal texts of one owner have one name."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"LicenseRef-{re.sub(r'[^A-Za-z0-9.]+', '-', owner).strip('-')}-{digest}"
    return Licence(name, ((name, text),))


def all_of(licences: Iterable[Licence]) -> Licence:
    """Return the licence of something to which all of them apply."""
    found = sorted(set(licences), key=lambda each: each.expression)
    if len(found) == 1:
        return found[0]
    texts = sorted({text for each in found for text in each.texts})
    expression = " AND ".join(f"({each.expression})" for each in found)
    return Licence(_checked_with(expression), tuple(texts))


def of_debian(names: Sequence[str], *, texts: Mapping[str, str], owner: str) -> Licence | None:
    """Return the licence of a debian/copyright that gives these names; None without any.

    `texts` has the text of a name, where the file has one.
    """
    if not names:
        return None
    return all_of(_dep5(name, texts, owner) for name in names)


def of_wheel(metadata: Mapping[str, Sequence[str]]) -> tuple[str | None, tuple[str, ...]]:
    """Return expression and names as written of a wheel's core metadata (lower-case fields).

    `License-Expression` (PEP 639) is an expression by definition; of older fields only what has
    one clear meaning is taken.
    """
    for expression in metadata.get("license-expression", ()):
        return checked(expression), (expression,)
    texts = [text for text in metadata.get("license", ()) if text and "\n" not in text]
    classified = [
        each.removeprefix(_CLASSIFIER)
        for each in metadata.get("classifier", ())
        if each.startswith(_CLASSIFIER)
    ]
    names = tuple(dict.fromkeys([*texts, *classified]))
    found = {_NAMED.get(name) or checked(name) for name in names}
    # "BSD License" beside "BSD-3-Clause" takes nothing back.
    found -= {None} if len({each for each in found if each}) == 1 and texts else set()
    return (found.pop() if len(found) == 1 else None), names


def copyright_lines(text: str) -> str | None:
    """Return the lines of a licence's text that state a copyright, each once; None without any."""
    lines = [line.strip(" \t#*/.|-") for line in text.splitlines() if _COPYRIGHT.search(line)]
    return "\n".join(dict.fromkeys(lines)) or None


def _dep5(name: str, texts: Mapping[str, str], owner: str) -> Licence:
    """Read one short name, or several with "and" and "or" between them."""
    parts = re.split(r"\s+(and|or)\s+", re.sub(r",\s*(?=(and|or)\s)", " ", name.strip()))
    words: list[str] = []
    found: list[tuple[str, str]] = []
    for position, part in enumerate(parts):
        if position % 2:
            words.append(part.upper())
            continue
        simple = _simple(part)
        if simple is None:
            text = texts.get(part) or texts.get(name)
            named = text or f"debian/copyright calls it {part!r} and has no text."
            licence = reference(f"{owner}-{part}"[:60], named)
            simple, found = licence.expression, [*found, *licence.texts]
        words.append(simple)
    return Licence(_checked_with(" ".join(words)), tuple(found))


def _simple(name: str) -> str | None:
    gnu = _GNU.fullmatch(name)
    if gnu:
        family, major, minor, later = gnu.groups()
        return f"{family}-{major}.{minor or 0}-{'or-later' if later else 'only'}"
    return checked(_DEP5.get(name, name))


def checked(expression: str) -> str | None:
    """Return the expression in its normal form, None when SPDX does not know all of it."""
    licensing = _licensing()
    try:
        parsed = licensing.parse(expression, validate=True, strict=True, simple=False)
    except (ExpressionError, ValueError, AttributeError):
        return None
    if parsed is None:
        return None
    # The library knows other names as well ("GPL"), and so would say more than the package does.
    written = {word.lower() for word in _WORD.findall(expression)}
    keys = {str(key) for key in licensing.license_keys(parsed)}
    exact = all(key.lower() in written and not key.startswith("LicenseRef") for key in keys)
    return str(parsed) if exact else None


def _checked_with(expression: str) -> str:
    """Return an expression of known parts in its normal form."""
    return str(_licensing().parse(expression))


@functools.cache
def _licensing() -> Licensing:
    return get_spdx_licensing()
