"""The job that asks for captions: a thread of each API process, one request at a time.

It is neither part of an analysis nor of the workers: those are done before it begins, and need no
way to the internet. Rows decide who asks for what (`app.services.captions`), so any number of
processes share the work, and a restarted one continues it.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import (
    ConflictError,
    EventNotFoundError,
    StorageFullError,
    UnavailableError,
    VideoNotFoundError,
)
from app.logs import event
from app.models import CaptionStatus
from app.models.base import utc_now
from app.services import captions
from app.services.captions import Claim
from app.services.gemini import Answer, GeminiRules, Postponed, ask
from app.services.media import Media, Width
from app.worker.background import BackgroundThread

INTERVAL_S = 3.0
# How long to retry storing an answer, which is paid for, while the database is down.
STORE_TIMEOUT_S = 300.0
RETRY_S = 1.0
# An answer that takes longer than that at a stop is lost.
STOP_TIMEOUT_S = 5.0
# The one that analyses store, so that no program has to run.
WIDTH = Width.MEDIUM


class _StoppingError(Exception):
    """The service was asked to stop."""


class Captioner(BackgroundThread):
    """Ask for the captions of all events that have none."""

    def __init__(
        self, *, database: Database, media: Media, rules: GeminiRules, daily_requests: int
    ) -> None:
        """Prepare; nothing runs before `start`."""
        super().__init__(name="captions", interval=INTERVAL_S)
        self._database = database
        self._media = media
        self._rules = rules
        self._limit = daily_requests

    def step(self) -> None:
        """Ask for captions until there is nothing to ask for, or nothing may be sent."""
        while not self.stopping() and self._next():
            pass

    def stop(self) -> None:
        """Ask the thread to stop, and wait a moment for the answer to what it has sent."""
        self.request_stop()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def close(self) -> None:
        """Do nothing: no resources are held between steps."""

    def _next(self) -> bool:
        """Handle one event; return False if there is none to handle now."""
        now = utc_now()
        with self._database.reading() as session:
            lost = captions.any_lost(session, now=now)
            event_id = captions.next_claimable(session, now=now, limit=self._limit)
        if lost:
            with self._database.writing() as session:
                count = captions.give_up_lost(session, now=now)
            event("captions.lost", level=logging.WARNING, count=count)
        if event_id is None:
            return False
        with self._database.writing() as session:
            claim = captions.claim(session, event_id=event_id, now=now)
        if claim is not None:
            self._handle(claim)
        return True

    def _handle(self, claim: Claim) -> None:
        result: Answer | Postponed | None
        try:
            result = ask(
                self._picture(claim), rules=self._rules, before_sending=lambda: self._begin(claim)
            )
        except (EventNotFoundError, VideoNotFoundError):
            return  # deleted meanwhile
        except ConflictError as error:
            result = Answer(CaptionStatus.FAILED, reason=f"There is no picture. {error}")
        except (StorageFullError, UnavailableError, OSError) as error:
            result = Postponed(f"no picture: {error}", blames_picture=True)
        except _StoppingError:
            result = None
        if isinstance(result, Answer):
            answer = result
            self._store(lambda session: captions.finish(session, claim=claim, answer=answer))
            event("caption.stored", event_id=claim.event_id, status=answer.status.value)
        elif isinstance(result, Postponed):
            with self._database.writing() as session:
                pause = captions.postpone(session, claim=claim, now=utc_now(), result=result)
            event(
                "captions.postponed",
                level=logging.WARNING,
                event_id=claim.event_id,
                cause=result.cause,
                seconds=round(pause, 1),
            )
        else:
            with self._database.writing() as session:
                captions.release(session, claim=claim, now=utc_now())

    def _picture(self, claim: Claim) -> bytes:
        """Return the JPEG that the service shows for the event."""

        def checkpoint() -> None:
            if self.stopping():
                raise _StoppingError

        wanted = self._media.event_thumbnail(claim.event_id, width=WIDTH)
        path = self._media.find(wanted) or self._media.create(wanted, checkpoint=checkpoint)
        return path.read_bytes()

    def _begin(self, claim: Claim) -> bool:
        with self._database.writing() as session:
            return captions.begin(
                session,
                claim=claim,
                now=utc_now(),
                timeout=timedelta(seconds=self._rules.timeout),
                limit=self._limit,
            )

    def _store(self, write: Callable[[Session], bool]) -> None:
        deadline = time.monotonic() + STORE_TIMEOUT_S
        while True:
            try:
                with self._database.writing() as session:
                    write(session)
                return
            except (OperationalError, InterfaceError):
                if time.monotonic() > deadline:
                    raise
                event("caption.write_failed", level=logging.WARNING, exc_info=True)
                time.sleep(RETRY_S)
