"""The end of life of Python and of libraries in wheels: a table that people keep → findings.

    openssl:
      - {series: 1.1.1, ends: 2023-09-11, source: OpenSSL's release strategy}

Debian has the dates of its own releases (support.py), but nobody publishes these in a form that
could be pinned. Of what the table does not name nothing is known, and the report says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from tools.apt.yaml_model import Model, Text, read_yaml
from tools.audit.findings import Component, Finding, Severity

_SOON = timedelta(days=180)


class Series(Model):
    """A series of releases, "1.1.1", the last day of its support, and who says so."""

    series: Annotated[Text, Field(strict=True)]
    ends: date
    source: Text

    def has(self, version: str) -> bool:
        """Return whether a version is of this series: 1.1.1k is of 1.1.1, 1.1.10 is not."""
        return re.match(rf"{re.escape(self.series)}(?!\d)", version) is not None


Table = dict[Text, list[Series]]
_FILE = TypeAdapter(Table)


def read_table(path: Path) -> Table:
    """Return the table in `path`; raise ToolError naming file, key and cause."""
    return read_yaml(path, _FILE)


def end_of_life_findings(
    components: Iterable[Component], table: Table, *, today: date
) -> Iterator[Finding]:
    """Yield a finding for each component whose series has ended, or will within half a year."""
    for component in components:
        for series in table.get(component.product or component.name, ()):
            if not series.has(component.version) or today <= series.ends - _SOON:
                continue
            over = today > series.ends
            yield Finding(
                "end-of-life" if over else "end-of-life-soon",
                (Severity.MEDIUM if component.parent else Severity.HIGH) if over else Severity.LOW,
                component,
                f"{component.product or component.name} {series.series}"
                f" {'had' if over else 'has'} support until"
                f" {series.ends} ({series.source})",
                next_step=f"take a newer {component.parent}" if component.parent else "upgrade",
            )


def not_in(components: Iterable[Component], table: Table) -> list[str]:
    """Return the components of which the table knows nothing."""
    return sorted(
        {
            f"{each.name} {each.version}"
            for each in components
            if not any(
                series.has(each.version) for series in table.get(each.product or each.name, ())
            )
        }
    )
