"""Every reader that is fuzzed, by name."""

from __future__ import annotations

from tools.fuzz import answers, archives, documents, objects, oci, packages
from tools.fuzz.harness import Reader

_ALL = (archives, objects, oci, packages, documents, answers)
READERS: dict[str, Reader] = {reader.name: reader for module in _ALL for reader in module.READERS}
