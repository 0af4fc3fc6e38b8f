"""All settings of the service, read once from the environment and frozen.

A variable that holds a secret, or a URL that may contain one, can be given as `NAME_FILE=/path`
instead, for secrets mounted as files. An empty variable counts as unset, so that `${NAME:-}` works
in a compose file. Only entry points call `load_settings`; everything else receives the object.
"""

import ipaddress
import os
import re
import urllib.parse
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

FILE_SUFFIX = "_FILE"
POSTGRES_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")
REDIS_SCHEMES = ("redis", "rediss", "redis+socket")
AMQP_SCHEMES = ("amqp", "amqps")
GOOGLE = "https://accounts.google.com"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST_PATTERN = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_PRINTABLE = re.compile(r"[!-~]+")
_PERSON = re.compile(r"([!-?A-~]+@)?[a-z0-9-]+(\.[a-z0-9-]+)+")
# The least with which every video of 1920 x 1080 pixels can be analysed.
MIN_MEMORY = 256 * 1024**2
# Of RETENTION_AGE: less is a mistake in the unit, and more is no point in time.
MIN_AGE, MAX_AGE = timedelta(hours=1), timedelta(days=36525)


class SettingsError(Exception):
    """A variable is missing or invalid; the message names it."""


class SecretFileSource(PydanticBaseSettingsSource):
    """Read secret fields from `NAME_FILE`: the file's text without trailing newlines."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return (value or None, key, is_complex), as pydantic-settings requires."""
        if field.annotation not in (SecretStr, SecretStr | None):
            return None, field_name, False
        variable = field_name.upper() + FILE_SUFFIX
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        if os.environ.get(field_name.upper()):
            raise SettingsError(f"{variable} and {field_name.upper()} are both set; set only one.")
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable}: cannot read {path!r} ({error}).") from error

    def __call__(self) -> dict[str, Any]:
        """Return the values by field name."""
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found


class Settings(BaseSettings):
    """Settings for operators. A variable's name is the field's name in upper case."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    data_dir: Path = Field(
        default=Path("/app/data"),
        description="Directory for videos, temporary files and the SQLite database.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="sqlite:///path, postgres:// or postgresql://; unset: SQLite in DATA_DIR.",
    )
    auto_migrate: bool = Field(
        default=True,
        description="Run pending migrations at startup, under a lock.",
    )
    broker_url: SecretStr | None = Field(
        default=None,
        description=(
            "Celery broker: redis://, rediss://, amqp:// (RabbitMQ) or amqps://; unset: the "
            "service runs analyses itself."
        ),
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Alias for BROKER_URL, for Redis only; set only one of them.",
    )
    require_api_key: bool = Field(
        default=False,
        description=(
            "Require an API key for /api/v1; create one with `python3 -m app.cli.keys create NAME`."
        ),
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Comma-separated host names (`*.example.org` for subdomains, `*` for any) by which the "
            "service may be addressed, besides localhost, 127.0.0.1 and [::1]; unset: no others, "
            "or any if keys are required."
        ),
    )
    max_upload_bytes: Annotated[ByteSize, Field(gt=0)] = Field(
        default=ByteSize(2 * 1024**3),
        description="Maximum size of a video, for example 512MiB.",
    )
    upload_idle_timeout: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(seconds=30),
        description="Abort an upload that sends (almost) nothing for this many seconds.",
    )
    upload_lifetime: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(days=1),
        description="Delete a resumable upload that receives nothing for this many seconds.",
    )
    max_unfinished_uploads: Annotated[int, Field(ge=1)] = Field(
        default=100,
        description="Maximum number of unfinished resumable uploads of one client (or API key).",
    )
    key_bytes: Annotated[ByteSize, Field(ge=0)] | None = Field(
        default=None,
        description="Maximum total size of the videos of an API key without its own; unset: none.",
    )
    key_jobs: Annotated[int, Field(ge=0)] | None = Field(
        default=1000,
        description="Maximum number of unfinished analyses of an API key without its own.",
    )
    request_timeout: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(seconds=20),
        description=(
            "Maximum time in seconds to receive a request's headers and, except for uploads, its "
            "body."
        ),
    )
    response_idle_timeout: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(seconds=30),
        description="Drop a client that reads (almost) none of its response for this many seconds.",
    )
    max_connections: Annotated[int, Field(ge=1)] = Field(
        default=1000,
        description=(
            "Maximum number of connections of each process, if the limit on open files allows it; "
            "`/health` is answered beyond it."
        ),
    )
    max_client_connections: Annotated[int, Field(ge=1)] = Field(
        default=256,
        description=(
            "The same for one client: an IPv4 address or IPv6 /64, or what a proxy in uvicorn's "
            "FORWARDED_ALLOW_IPS forwards it as, whose requests are counted instead."
        ),
    )
    import_dir: Path | None = Field(
        default=None,
        description="Directory from which files may be imported by path; unset: none.",
    )
    import_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Comma-separated hosts from which videos may be imported (https://, http://); `*` "
            "allows any; empty: none."
        ),
    )
    import_private_addresses: bool = Field(
        default=False,
        description="Allow imports from non-public addresses such as 10.0.0.1.",
    )
    import_timeout: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(minutes=5),
        description="Maximum duration of an import in seconds.",
    )
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Comma-separated hosts to which webhooks may be sent; `*` allows any; empty: webhooks "
            "are off."
        ),
    )
    webhook_private_addresses: bool = Field(
        default=False,
        description=(
            "Allow webhooks to non-public addresses such as 10.0.0.1, also by http://; to public "
            "ones only https:// is allowed."
        ),
    )
    webhook_timeout: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(seconds=15),
        description="Maximum duration of one attempt to deliver to a webhook in seconds.",
    )
    analysis_timeout: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(minutes=30),
        description="Maximum duration of an analysis in seconds.",
    )
    max_duration: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(hours=24),
        description="Maximum length of a video in seconds; longer videos are not analysed.",
    )
    analysis_attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3,
        description="Number of times an analysis is tried if its worker dies.",
    )
    analysis_memory: ByteSize = Field(
        default=ByteSize(2 * 1024**3),
        description="Memory limit of an analysis, at least 256MiB.",
    )
    cache_bytes: Annotated[ByteSize, Field(ge=0)] = Field(
        default=ByteSize(2 * 1024**3),
        description="Size limit of the thumbnail and clip cache; evicts least recently used files.",
    )
    retention_age: timedelta | None = Field(
        default=None,
        description=(
            "Remove videos stored this long ago: seconds or ISO 8601, for example `P30D` for 30 "
            "days; at least an hour; unset: never."
        ),
    )
    retention_bytes: ByteSize | None = Field(
        default=None,
        description=(
            "Remove the oldest videos while all together are larger, for example 500GiB; at least "
            "MAX_UPLOAD_BYTES; unset: no limit."
        ),
    )
    picture_megapixels: Annotated[int, Field(ge=1)] = Field(
        default=4_000,
        description="Million pixels, of all frames together, that one thumbnail may decode.",
    )
    clip_megapixels: Annotated[int, Field(ge=1)] = Field(
        default=500_000,
        description="The same for one clip; an hour of 1920 x 1080 at 60 per second has 450000.",
    )
    lease: Annotated[timedelta, Field(ge=timedelta(seconds=1))] = Field(
        default=timedelta(seconds=30),
        description="A worker silent for this many seconds loses its analysis to another.",
    )
    ffprobe: str = Field(
        default="ffprobe",
        description="The ffprobe program: a path, or a name on PATH.",
    )
    ffmpeg: str = Field(
        default="ffmpeg",
        description="The ffmpeg program: a path, or a name on PATH.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Minimum severity of logged events: debug, info, warning or error.",
    )
    gemini_api_key: SecretStr | None = Field(
        default=None,
        description="Gemini API key; if set, events get captions, and their pictures are sent.",
    )
    gemini_model: str = Field(
        default="gemini-3.5-flash-lite",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="The model that is asked for captions.",
    )
    gemini_daily_requests: Annotated[int, Field(ge=0)] = Field(
        default=1000,
        description="Maximum number of requests for captions a day (UTC), of all processes.",
    )
    gemini_timeout: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(minutes=10))] = Field(
        default=timedelta(seconds=60),
        description="Maximum duration of a request for a caption in seconds.",
    )
    gemini_url: str = Field(
        default="https://generativelanguage.googleapis.com",
        description=(
            "Where the Gemini API is: https://, with a path if a gateway needs one; http:// only "
            "for this machine."
        ),
    )
    google_client_id: str | None = Field(
        default=None,
        description=(
            "OAuth client id; with it people can sign in with Google, and /api/v1 requires that or "
            "an API key."
        ),
    )
    google_client_secret: SecretStr | None = Field(
        default=None,
        description="Secret of the OAuth client.",
    )
    google_readers: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Comma-separated addresses (`ann@example.org`) and Google Workspace domains "
            "(`example.org`) that may sign in and read."
        ),
    )
    google_editors: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="The same for those that may also change things.",
    )
    google_issuer: str = Field(
        default=GOOGLE,
        description="OpenID provider; another one than Google only for tests and proxies.",
    )
    public_url: str | None = Field(
        default=None,
        description=(
            "Scheme, host and port by which browsers reach the service, "
            "`https://films.example.org`; required for signing in, which returns there."
        ),
    )

    @field_validator("data_dir", "import_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.absolute()

    @field_validator("analysis_memory")
    @classmethod
    def _enough_memory(cls, value: ByteSize) -> ByteSize:
        if value < MIN_MEMORY:
            raise ValueError("at least 256MiB is needed to analyse 1920 x 1080 pixels")
        return value

    @field_validator("retention_age")
    @classmethod
    def _possible_age(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and not MIN_AGE <= value <= MAX_AGE:
            raise ValueError(
                "it must be between an hour and a hundred years; a plain number is in seconds, 30 "
                "days are P30D"
            )
        return value

    @field_validator("retention_bytes")
    @classmethod
    def _room_for_one(cls, value: ByteSize | None, info: ValidationInfo) -> ByteSize | None:
        largest = info.data.get("max_upload_bytes")
        if value is not None and largest is not None and value < largest:
            raise ValueError(
                f"it is less than MAX_UPLOAD_BYTES ({largest.human_readable(separator='')}), so "
                "one upload could remove all other videos; raise it, or lower MAX_UPLOAD_BYTES"
            )
        return value

    @field_validator("import_hosts", "webhook_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        hosts = _split(value)
        for host in hosts:
            if "/" in host or ":" in host:
                raise ValueError(f"{host!r} is not a bare host name")
        return hosts

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _host_patterns(cls, value: object) -> object:
        return tuple(map(_host_pattern, _split(value))) if isinstance(value, str) else value

    @field_validator("google_readers", "google_editors", mode="before")
    @classmethod
    def _people(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        people = _split(value)
        for person in people:
            if not _PERSON.fullmatch(person):
                raise ValueError(f"{person!r} is neither an e-mail address nor a domain")
        return people

    @field_validator("google_issuer", "public_url")
    @classmethod
    def _trustworthy(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        url = value.rstrip("/")
        if not _is_secure(url):
            raise ValueError("it must start with https://, or with http:// and a loopback host")
        if info.field_name == "public_url" and urllib.parse.urlsplit(url).path:
            raise ValueError("leave out the path")
        return url

    @model_validator(mode="after")
    def _sign_in_is_complete(self) -> "Settings":
        if self.google_client_id is None and self.google_client_secret is None:
            return self
        if self.google_client_id is None or self.google_client_secret is None:
            raise ValueError("set both GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET, or neither")
        if not self.google_readers and not self.google_editors:
            raise ValueError(
                "GOOGLE_CLIENT_ID is set, but nobody may sign in; list addresses or domains in "
                "GOOGLE_READERS or GOOGLE_EDITORS"
            )
        twice = sorted({*self.google_readers} & {*self.google_editors})
        if twice:
            raise ValueError(f"{twice[0]} is in both GOOGLE_READERS and GOOGLE_EDITORS; choose one")
        if self.public_url is None:
            raise ValueError(
                "GOOGLE_CLIENT_ID is set, but not PUBLIC_URL, the address to which Google sends "
                "browsers back"
            )
        return self

    @field_validator(
        "upload_idle_timeout",
        "upload_lifetime",
        "request_timeout",
        "response_idle_timeout",
        "import_timeout",
        "webhook_timeout",
        "analysis_timeout",
        "max_duration",
        "retention_age",
        "lease",
        "gemini_timeout",
        mode="before",
    )
    @classmethod
    def _plain_seconds(cls, value: object) -> object:
        """Accept "30" as thirty seconds; pydantic alone accepts only ISO 8601 durations."""
        if isinstance(value, str) and value.replace(".", "", 1).isdigit():
            return float(value)
        return value

    @field_validator("gemini_api_key")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        # Nothing else can be a header, and http.client would say so with the key in its message.
        if value is not None and not _PRINTABLE.fullmatch(value.get_secret_value()):
            raise ValueError("it must be printable ASCII characters without spaces")
        return value

    @field_validator("gemini_url")
    @classmethod
    def _safe_address(cls, value: str) -> str:
        return _api_address(value)

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr | None) -> SecretStr | None:
        return _with_scheme(value, ("sqlite", *POSTGRES_SCHEMES))

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: SecretStr | None) -> SecretStr | None:
        return _with_scheme(value, (*REDIS_SCHEMES, *AMQP_SCHEMES))

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("broker_url") not in (None, value):
            raise ValueError("it differs from BROKER_URL; set only one")
        return _with_scheme(value, REDIS_SCHEMES)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources: arguments, environment, secret files; never a `.env` file."""
        return init_settings, env_settings, SecretFileSource(settings_cls)

    def sqlalchemy_url(self) -> str:
        """Return the database URL with an explicit driver, as SQLAlchemy requires."""
        if self.database_url is None:
            return f"sqlite:///{self.data_dir / 'backend.db'}"
        scheme, rest = self.database_url.get_secret_value().split("://", 1)
        return (
            f"postgresql+psycopg://{rest}" if scheme in POSTGRES_SCHEMES else f"{scheme}://{rest}"
        )

    def broker(self) -> str | None:
        """Return the broker's URL, or None if the service runs analyses itself."""
        url = self.broker_url or self.redis_url
        return None if url is None else url.get_secret_value()

    @property
    def captions(self) -> bool:
        """Whether events have captions."""
        return self.gemini_api_key is not None

    def signs_in(self) -> bool:
        """Return whether people can sign in with Google."""
        return self.google_client_id is not None

    def requires_authentication(self) -> bool:
        """Return whether `/api/v1` is closed to clients that are not known."""
        return self.require_api_key or self.signs_in()


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


def _is_secure(url: str) -> bool:
    """Return whether a URL is HTTPS, or HTTP on this machine, and has nothing but a path."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.query or parts.fragment or "@" in parts.netloc or not url.isascii():
        return False
    if not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)


def _host_pattern(text: str) -> str:
    """Return a host as it is compared: IPv6 addresses in short form and without brackets."""
    if _HOST_PATTERN.fullmatch(text):
        return text
    try:
        return ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]")).compressed
    except ValueError:
        raise ValueError(
            f"{text!r} is not a host name or IP address; leave out scheme, port and path"
        ) from None


def _api_address(text: str) -> str:
    """Return the address of an API without trailing slashes. Raise ValueError if it is unsafe."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("not a valid URL") from None
    if parts.scheme not in ("https", "http") or not host or not _PRINTABLE.fullmatch(text):
        raise ValueError("it must start with https:// and name a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("leave out user name, query and fragment")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("https:// is required, except for 127.0.0.1, [::1] and localhost")
    return text.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _with_scheme(value: SecretStr | None, schemes: tuple[str, ...]) -> SecretStr | None:
    if value is not None:
        scheme, separator, _ = value.get_secret_value().partition("://")
        if not separator or scheme not in schemes:
            raise ValueError("it must start with " + " or ".join(f"{name}://" for name in schemes))
    return value


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the environment. Raise SettingsError with one sentence per invalid variable."""
    try:
        return Settings(**(overrides or {}))
    except ValidationError as error:
        raise SettingsError(" ".join(map(_describe, error.errors()))) from None


def _describe(error: Any) -> str:
    if not error["loc"]:  # of several variables, which the message names
        return f"{error['msg'].removeprefix('Value error, ')}."
    name = str(error["loc"][0])
    field = Settings.model_fields.get(name)
    # Never repeat the value of a secret: this message ends up in logs.
    secret = field is not None and field.annotation in (SecretStr, SecretStr | None)
    shown = "value" if secret else f"value {os.environ.get(name.upper(), error['input'])!r}"
    reason = error["msg"].removeprefix("Value error, ")
    return f"{name.upper()}: invalid {shown}: {reason[0].lower()}{reason[1:]}."
