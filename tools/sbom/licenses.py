"""Licences as packages state them → SPDX expressions, where the statement has one clear meaning.

What is ambiguous ("BSD", "Artistic", "Dual License") stays unsaid: a wrong licence in an SBOM is
worse than none. Identifiers and expressions are checked by the library `license-expression`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

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


def of_debian(names: Sequence[str]) -> str | None:
    """Return the expression for all licences of a debian/copyright; None unless all are clear."""
    found = [_dep5(name) for name in names]
    if not found or None in found:
        return None
    return _checked(" AND ".join(f"({each})" for each in sorted({e for e in found if e})))


def of_wheel(metadata: Mapping[str, Sequence[str]]) -> tuple[str | None, tuple[str, ...]]:
    """Return expression and names as written of a wheel's core metadata (lower-case fields).

    `License-Expression` (PEP 639) is an expression by definition; of older fields only what has
    one clear meaning is taken.
    """
    for expression in metadata.get("license-expression", ()):
        return _checked(expression), (expression,)
    texts = [text for text in metadata.get("license", ()) if text and "\n" not in text]
    classified = [
        each.removeprefix(_CLASSIFIER)
        for each in metadata.get("classifier", ())
        if each.startswith(_CLASSIFIER)
    ]
    names = tuple(dict.fromkeys([*texts, *classified]))
    found = {_NAMED.get(name) or _checked(name) for name in names}
    # "BSD License" beside "BSD-3-Clause" takes nothing back.
    found -= {None} if len({each for each in found if each}) == 1 and texts else set()
    return (found.pop() if len(found) == 1 else None), names


def _dep5(name: str) -> str | None:
    """Read one short name, or several with "and" and "or" between them."""
    parts = re.split(r"\s+(and|or)\s+", re.sub(r",\s*(?=(and|or)\s)", " ", name.strip()))
    words = []
    for position, part in enumerate(parts):
        if position % 2:
            words.append(part.upper())
            continue
        simple = _simple(part)
        if simple is None:
            return None
        words.append(simple)
    return _checked(" ".join(words))


def _simple(name: str) -> str | None:
    gnu = _GNU.fullmatch(name)
    if gnu:
        family, major, minor, later = gnu.groups()
        return f"{family}-{major}.{minor or 0}-{'or-later' if later else 'only'}"
    return _checked(_DEP5.get(name, name))


def _checked(expression: str) -> str | None:
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


@functools.cache
def _licensing() -> Licensing:
    return get_spdx_licensing()
