"""Manage API keys: `python3 -m app.cli.keys create NAME`, `list`, `limit` or `revoke PREFIX`."""

import argparse
import sys

from pydantic import ByteSize, TypeAdapter, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.models import ApiKey
from app.models.base import utc_now
from app.services import keys
from app.services.private import keep_new_files_private
from app.settings import SettingsError, load_settings

_DIGITS = 9  # of a number that fits its column


def main(arguments: list[str]) -> int:
    """Run the command; return 0, or 1 with the reason on standard error."""
    options = _parser().parse_args(arguments)
    keep_new_files_private()
    try:
        database = Database(load_settings().sqlalchemy_url())
        print(_COMMANDS[options.command](database, options))  # noqa: T201 - command output
    except (SettingsError, keys.KeyNotFoundError, ValueError) as error:
        print(f"keys: {error}", file=sys.stderr)  # noqa: T201 - command output
        return 1
    except SQLAlchemyError as error:
        reason = f"the database is not usable ({type(error).__name__}); has it been migrated?"
        print(f"keys: {reason}", file=sys.stderr)  # noqa: T201 - command output
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m app.cli.keys", description="Create, limit, list and revoke API keys."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="create a key and print it; it is not shown again")
    create.add_argument("name", help="who or what the key is for")
    create.add_argument("--admin", action="store_true", help="let it manage webhooks, too")
    limit = commands.add_parser("limit", help="replace the quotas of a key; none: the service's")
    limit.add_argument("prefix", help="the eight characters after `vk_`")
    for command in (create, limit):
        command.add_argument(
            "--max-bytes", type=_size, metavar="SIZE", help="of its videos, for example 10GiB"
        )
        command.add_argument(
            "--max-jobs", type=_number, metavar="N", help="of its unfinished analyses"
        )
    commands.add_parser("list", help="list prefix, state, date, quotas and name of every key")
    revoke = commands.add_parser("revoke", help="revoke a key and its sessions")
    revoke.add_argument("prefix", help="the eight characters after `vk_`")
    return parser


def _size(text: str) -> int:
    try:
        size = TypeAdapter(ByteSize).validate_python(text)
    except ValidationError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size, such as 512MiB") from None
    if not 0 <= size < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a possible size")
    return int(size)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > _DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of analyses")
    return int(text)


def _create(database: Database, options: argparse.Namespace) -> str:
    with database.writing() as session:
        return keys.create(
            session,
            name=options.name,
            max_bytes=options.max_bytes,
            max_jobs=options.max_jobs,
            admin=options.admin,
        ).text


def _limit(database: Database, options: argparse.Namespace) -> str:
    prefix = options.prefix.removeprefix("vk_")[:8]
    with database.writing() as session:
        row = keys.limit(
            session, prefix=prefix, max_bytes=options.max_bytes, max_jobs=options.max_jobs
        )
        return f"{row.prefix} ({row.name}): {_quotas(row)}"


def _quotas(row: ApiKey) -> str:
    shown = {"bytes": row.max_bytes, "jobs": row.max_jobs}
    return " ".join(f"{name}={'default' if of is None else of}" for name, of in shown.items())


def _list(database: Database, _options: argparse.Namespace) -> str:
    with database.reading() as session:
        lines = [
            "\t".join(
                (
                    row.prefix,
                    "valid" if row.revoked_at is None else f"revoked {row.revoked_at:%Y-%m-%d}",
                    f"{row.created_at:%Y-%m-%d}",
                    _quotas(row) + (" admin" if row.admin else ""),
                    row.name,
                )
            )
            for row in keys.list_keys(session)
        ]
    return "\n".join(["prefix\tstate\tcreated\tquotas\tname", *lines])


def _revoke(database: Database, options: argparse.Namespace) -> str:
    prefix = options.prefix.removeprefix("vk_")[:8]
    with database.writing() as session:
        row = keys.revoke(session, prefix=prefix, now=utc_now())
        return f"revoked {row.prefix} ({row.name})"


_COMMANDS = {"create": _create, "limit": _limit, "list": _list, "revoke": _revoke}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
