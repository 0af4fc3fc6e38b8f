"""Lists in pages that stay right while rows come and go: keyset pagination.

A cursor holds the place of the last row seen, so the next page is one index lookup however deep it
is. Callers get it as opaque text; whatever is not a cursor of the same list is refused.
"""

import base64
import binascii
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, or_

from app.errors import InvalidCursorError

Row = TypeVar("Row")
Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])


@dataclass(frozen=True)
class Page(Generic[Row]):
    """A stretch of a list."""

    items: list[Row]
    next_cursor: str | None


@dataclass(frozen=True)
class Order:
    """How a list is sorted: by `key`, and by `id` among equals. Without `key` by `id` alone."""

    name: str
    """Written into cursors, so that one list's cursor is not taken for another's."""
    id: ColumnElement[uuid.UUID]
    key: ColumnElement[Any] | None = None
    descending: bool = False

    def apply(self, query: Query, *, after: str | None, limit: int) -> Query:
        """Sort `query` and let it begin after the cursor. Raises InvalidCursorError."""
        if after is not None:
            query = query.where(self._beyond(*self._decode(after)))
        columns = [self.id] if self.key is None else [self.key, self.id]
        sorted_by = [column.desc() if self.descending else column for column in columns]
        return query.order_by(*sorted_by).limit(limit + 1)

    def page(
        self, rows: list[Row], *, limit: int, place: Callable[[Row], tuple[Any, uuid.UUID]]
    ) -> Page[Row]:
        """Cut the rows that `apply` asked for (one more than shown) into a page.

        `place` tells a row's sort key (None for a list sorted by id) and id.
        """
        if len(rows) <= limit:
            return Page(rows, None)
        return Page(rows[:limit], self._encode(*place(rows[limit - 1])))

    def _beyond(self, key: Any, row_id: uuid.UUID) -> ColumnElement[bool]:
        if self.key is None:
            return self.id < row_id if self.descending else self.id > row_id
        if self.descending:
            return or_(self.key < key, and_(self.key == key, self.id < row_id))
        return or_(self.key > key, and_(self.key == key, self.id > row_id))

    def _encode(self, key: Any, row_id: uuid.UUID) -> str:
        text = json.dumps([self.name, key, row_id.hex])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def _decode(self, cursor: str) -> tuple[Any, uuid.UUID]:
        wrong = InvalidCursorError("The cursor is not one that this list has given out.")
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            name, key, row_id = json.loads(text)
            found = uuid.UUID(row_id)
        except (ValueError, binascii.Error, TypeError, AttributeError, RecursionError):
            raise wrong from None
        kind = type(None) if self.key is None else self.key.type.python_type
        # An integer that fits no column would be the database's error instead of the caller's.
        fits = not isinstance(key, int) or abs(key) < 2**63
        if name != self.name or not isinstance(key, kind) or not fits:
            raise wrong
        if isinstance(key, str) and ("\0" in key or not key.isprintable()):
            raise wrong
        return key, found
