"""Keyset pagination: pages stay correct while rows are added and deleted.

A cursor holds the position of the last row, so any page costs one index lookup. Cursors are opaque
to clients; a cursor of another list is rejected.
"""

import base64
import binascii
import json
import math
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, or_

from app.errors import InvalidCursorError

_SURROGATES = re.compile("[\ud800-\udfff]")
Row = TypeVar("Row")
Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])


@dataclass(frozen=True)
class Page(Generic[Row]):
    """One page of a list."""

    items: list[Row]
    next_cursor: str | None


@dataclass(frozen=True)
class Order:
    """The sort order of a list: by `key`, then `id`; without `key`, by `id` alone."""

    name: str
    """Part of each cursor, so that a cursor of another list is rejected."""
    id: ColumnElement[uuid.UUID]
    key: ColumnElement[Any] | None = None
    descending: bool = False

    def apply(self, query: Query, *, after: str | None, limit: int) -> Query:
        """Sort `query` and start it after the cursor. Raise InvalidCursorError."""
        if after is not None:
            query = query.where(self._after(*self._decode(after)))
        columns = [self.id] if self.key is None else [self.key, self.id]
        sorted_by = [column.desc() if self.descending else column for column in columns]
        return query.order_by(*sorted_by).limit(limit + 1)

    def page(
        self, rows: list[Row], *, limit: int, position: Callable[[Row], tuple[Any, uuid.UUID]]
    ) -> Page[Row]:
        """Build a page from the rows that `apply` selected, which are one more than are shown.

        `position` returns a row's sort key (None for a list sorted by id) and id.
        """
        if len(rows) <= limit:
            return Page(rows, None)
        return Page(rows[:limit], self._encode(*position(rows[limit - 1])))

    def _after(self, key: Any, row_id: uuid.UUID) -> ColumnElement[bool]:
        if self.key is None:
            return self.id < row_id if self.descending else self.id > row_id
        if self.descending:
            return or_(self.key < key, and_(self.key == key, self.id < row_id))
        return or_(self.key > key, and_(self.key == key, self.id > row_id))

    def _encode(self, key: Any, row_id: uuid.UUID) -> str:
        text = json.dumps([self.name, key, row_id.hex])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def _decode(self, cursor: str) -> tuple[Any, uuid.UUID]:
        invalid = InvalidCursorError("The cursor does not belong to this list.")
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            name, key, row_id = json.loads(text)
            found = uuid.UUID(row_id)
        except (ValueError, binascii.Error, TypeError, AttributeError, RecursionError):
            raise invalid from None
        kind = type(None) if self.key is None else self.key.type.python_type
        # Exactly this type: True is an int to Python, and to no database.
        if name != self.name or type(key) is not kind or not _is_storable(key):
            raise invalid
        return key, found


def _is_storable(key: Any) -> bool:
    """Return whether every database accepts `key` and can compare it."""
    match key:
        case int():
            return abs(key) < 2**63
        case float():
            return math.isfinite(key)
        case str():
            return "\0" not in key and not _SURROGATES.search(key)
    return True
