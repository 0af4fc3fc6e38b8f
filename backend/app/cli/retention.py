"""List the videos that retention removes, or remove them: `python3 -m app.cli.retention`."""

import argparse
import os
import sys
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.models.base import utc_now
from app.services.private import keep_new_files_private
from app.services.readers import Readers
from app.services.retention import Due, Policy, Retention, RetentionBusyError
from app.services.storage import Storage, StorageUnusableError
from app.settings import Settings, SettingsError, load_settings

FAILED, NO_LIMIT, HELD = 1, 2, 3
_DESCRIPTION = """\
List the videos that are due, oldest first: by the time since which their age counts, then by id.
Nothing is removed without --remove. Left alone are videos that are pinned, younger than an hour,
have an unfinished analysis, or are being read.
"""
_EPILOG = """\
exit codes: 0 done, even if nothing was due; 1 the settings, the directory or the database are not
usable; 2 wrong arguments, or no limit; 3 the clock has jumped, so nothing was removed by age
"""


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code, with the reason on standard error."""
    options = _parser().parse_args(arguments)
    keep_new_files_private()
    try:
        for name, value in (("RETENTION_AGE", options.age), ("RETENTION_BYTES", options.bytes)):
            if value is not None:
                os.environ[name] = value
        settings = load_settings()
        policy = _policy(settings)
        if not policy.enabled:
            return _complain(
                NO_LIMIT, "no limit: set RETENTION_AGE or RETENTION_BYTES, or give --age or --bytes"
            )
        storage = Storage(settings.data_dir)
        if options.remove:
            storage.prepare()
        retention = Retention(
            database=Database(settings.sqlalchemy_url()),
            storage=storage,
            readers=Readers(storage, enabled=True),
            policy=policy,
        )
        if options.remove:
            return _remove(retention, trust_clock=options.trust_clock)
        return _list(retention)
    except (SettingsError, StorageUnusableError) as error:
        return _complain(FAILED, str(error))
    except SQLAlchemyError as error:
        kind = type(error).__name__
        return _complain(FAILED, f"the database is not usable ({kind}); has it been migrated?")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m app.cli.retention",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--age", help="instead of RETENTION_AGE: seconds, or for example P30D")
    parser.add_argument("--bytes", metavar="SIZE", help="instead of RETENTION_BYTES: e.g. 500GiB")
    parser.add_argument("--remove", action="store_true", help="remove them instead of listing only")
    parser.add_argument(
        "--trust-clock", action="store_true", help="remove by age although the clock has jumped"
    )
    return parser


def _policy(settings: Settings) -> Policy:
    size = settings.retention_bytes
    return Policy(age=settings.retention_age, bytes=None if size is None else int(size))


def _list(retention: Retention) -> int:
    _print(retention.due(now=utc_now()), verb="due")
    return 0


def _remove(retention: Retention, *, trust_clock: bool) -> int:
    held: list[datetime] = []
    try:
        _print(retention.run(held=None if trust_clock else held.append), verb="removed")
    except RetentionBusyError as error:
        return _complain(FAILED, str(error))
    if held:
        return _complain(
            HELD,
            f"the clock has jumped, or the service was stopped for long: nothing is removed by age "
            f"before {held[0]:%Y-%m-%d %H:%M} UTC; if {utc_now():%Y-%m-%d %H:%M} UTC is right, "
            "--trust-clock removes it now",
        )
    return 0


def _print(found: Iterable[Due], *, verb: str) -> None:
    print("video\treason\tbytes\tstored\tname", flush=True)  # noqa: T201 - command output
    count = size = 0
    for due in found:
        note = "\t(in use, so later)" if due.in_use else ""
        fields = (due.video_id, due.reason, due.size, f"{due.created_at:%Y-%m-%d}", due.filename)
        print(*fields, sep="\t", end=f"{note}\n", flush=True)  # noqa: T201 - command output
        count, size = count + 1, size + due.size
    print(f"{count} videos with {size} bytes {verb}")  # noqa: T201 - command output


def _complain(code: int, reason: str) -> int:
    print(f"retention: {reason}", file=sys.stderr)  # noqa: T201 - command output
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
