"""Every setting of the service, read once from the environment and frozen.

A variable that holds a secret or a URL can be given as `NAME_FILE=/path` instead, for secrets
mounted as files. An empty variable counts as unset, so that `${NAME:-}` in a compose file works.
`load_settings` is called by the entry points only; everything else is handed the object.
"""

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

FILE_SUFFIX = "_FILE"
POSTGRES_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")
REDIS_SCHEMES = ("redis", "rediss", "redis+socket")
AMQP_SCHEMES = ("amqp", "amqps")
# With less, not even every video of 1920 x 1080 pixels could be analysed.
LEAST_MEMORY = 256 * 1024**2


class SettingsError(Exception):
    """A variable is missing or wrong; the message is a sentence that names it."""


class SecretFileSource(PydanticBaseSettingsSource):
    """Reads `NAME_FILE` for each secret field: the file's text without its last line break."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return (value or None, key, is_complex) as pydantic-settings asks of a source."""
        if field.annotation not in (SecretStr, SecretStr | None):
            return None, field_name, False
        variable = field_name.upper() + FILE_SUFFIX
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        if os.environ.get(field_name.upper()):
            raise SettingsError(f"{variable} and {field_name.upper()} are both set; keep one.")
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable}: cannot read {path!r} ({error}).") from error

    def __call__(self) -> dict[str, Any]:
        """Return the values found, keyed by field name."""
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found


class Settings(BaseSettings):
    """What an operator can set. The variable's name is the field's name in capitals."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    data_dir: Path = Field(
        default=Path("/app/data"),
        description="Where videos, temporary files and the SQLite database live.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="sqlite:///path, postgres:// or postgresql://; unset: SQLite in DATA_DIR.",
    )
    auto_migrate: bool = Field(
        default=True,
        description="Bring the schema up to date at start, behind a lock.",
    )
    broker_url: SecretStr | None = Field(
        default=None,
        description=(
            "Broker for Celery: redis://, rediss://, amqp:// (RabbitMQ) or amqps://; unset: the "
            "service carries out analyses itself."
        ),
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Another name for BROKER_URL, for Redis only; set one of them.",
    )
    require_api_key: bool = Field(
        default=False,
        description="Answer /api/v1 only to holders of a key (`python3 -m app.keys create NAME`).",
    )
    max_upload_bytes: Annotated[ByteSize, Field(gt=0)] = Field(
        default=ByteSize(2 * 1024**3),
        description="Largest video accepted, for example 512MiB.",
    )
    upload_idle_timeout: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(seconds=30),
        description="An upload that sends (next to) nothing for this many seconds is dropped.",
    )
    request_timeout: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(seconds=20),
        description=(
            "A connection on which a request's headers, or its body unless it is an upload, take "
            "longer (seconds) is closed."
        ),
    )
    import_dir: Path | None = Field(
        default=None,
        description="Folder whose files may be imported by path; unset: no file may.",
    )
    import_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Hosts, separated by commas, that videos may be fetched from (https://, http://); "
            "`*` is any; empty: none."
        ),
    )
    import_private_addresses: bool = Field(
        default=False,
        description="Fetch from addresses that are not public too, such as 10.0.0.1.",
    )
    import_timeout: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(minutes=5),
        description="An import that takes longer (seconds) fails.",
    )
    analysis_timeout: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(minutes=30),
        description="An analysis that takes longer (seconds) fails.",
    )
    max_duration: Annotated[timedelta, Field(gt=timedelta(0))] = Field(
        default=timedelta(hours=24),
        description="A video that plays longer (seconds) is not analysed.",
    )
    analysis_attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3,
        description="An analysis whose worker died this often fails instead of starting again.",
    )
    analysis_memory: ByteSize = Field(
        default=ByteSize(2 * 1024**3),
        description="An analysis that needs more memory than this (256MiB or more) fails.",
    )
    cache_bytes: Annotated[ByteSize, Field(ge=0)] = Field(
        default=ByteSize(2 * 1024**3),
        description="How much of DATA_DIR thumbnails and clips may take; the oldest go first.",
    )
    lease: Annotated[timedelta, Field(ge=timedelta(seconds=1))] = Field(
        default=timedelta(seconds=30),
        description="A worker silent for this many seconds has lost its analysis to others.",
    )
    ffprobe: str = Field(
        default="ffprobe",
        description="The ffprobe program: a path, or a name on PATH.",
    )
    ffmpeg: str = Field(
        default="ffmpeg",
        description="The ffmpeg program, likewise.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Least severe event that is logged.",
    )
    gemini_api_key: SecretStr | None = Field(
        default=None,
        description="Credential for Gemini; accepted and kept secret, not used yet.",
    )
    google_client_id: str | None = Field(
        default=None,
        description="Google OAuth client; accepted, not used yet.",
    )
    google_client_secret: SecretStr | None = Field(
        default=None,
        description="Google OAuth secret; accepted and kept secret, not used yet.",
    )

    @field_validator("data_dir", "import_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.absolute()

    @field_validator("analysis_memory")
    @classmethod
    def _enough_memory(cls, value: ByteSize) -> ByteSize:
        if value < LEAST_MEMORY:
            raise ValueError("a video of 1920 x 1080 pixels needs 256MiB")
        return value

    @field_validator("import_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        hosts = tuple(host.strip().lower() for host in value.split(",") if host.strip())
        for host in hosts:
            if "/" in host or ":" in host:
                raise ValueError(f"{host!r} is not the name of a host alone")
        return hosts

    @field_validator(
        "upload_idle_timeout",
        "request_timeout",
        "import_timeout",
        "analysis_timeout",
        "max_duration",
        "lease",
        mode="before",
    )
    @classmethod
    def _plain_seconds(cls, value: object) -> object:
        """Read "30" as thirty seconds; pydantic alone takes ISO 8601 durations only."""
        if isinstance(value, str) and value.replace(".", "", 1).isdigit():
            return float(value)
        return value

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
            raise ValueError("it differs from BROKER_URL; keep one")
        return _with_scheme(value, REDIS_SCHEMES)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (pydantic's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (pydantic's signature)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then files. No `.env` file is ever read."""
        return init_settings, env_settings, SecretFileSource(settings_cls)

    def sqlalchemy_url(self) -> str:
        """Return the database URL with its driver named, as SQLAlchemy wants it."""
        if self.database_url is None:
            return f"sqlite:///{self.data_dir / 'backend.db'}"
        scheme, rest = self.database_url.get_secret_value().split("://", 1)
        return (
            f"postgresql+psycopg://{rest}" if scheme in POSTGRES_SCHEMES else f"{scheme}://{rest}"
        )

    def broker(self) -> str | None:
        """Return the broker's URL, or None when the service carries out analyses itself."""
        url = self.broker_url or self.redis_url
        return None if url is None else url.get_secret_value()

    def to_json(self) -> str:
        """Return everything, secrets included, for the pipe to a child process and nothing else."""
        values = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in self
        }
        return json.dumps(values, default=_plain)

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


def _plain(value: object) -> object:
    return value.total_seconds() if isinstance(value, timedelta) else str(value)


def _with_scheme(value: SecretStr | None, schemes: tuple[str, ...]) -> SecretStr | None:
    if value is not None:
        scheme, separator, _ = value.get_secret_value().partition("://")
        if not separator or scheme not in schemes:
            raise ValueError("it must start with " + " or ".join(f"{name}://" for name in schemes))
    return value


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the environment. Raises SettingsError with one sentence per wrong variable."""
    try:
        return Settings(**(overrides or {}))
    except ValidationError as error:
        raise SettingsError(" ".join(map(_sentence, error.errors()))) from None


def _sentence(error: Any) -> str:
    name = str(error["loc"][0])
    field = Settings.model_fields.get(name)
    # The value of a secret is never repeated: this sentence ends up in logs.
    secret = field is not None and field.annotation in (SecretStr, SecretStr | None)
    shown = "its value" if secret else repr(os.environ.get(name.upper(), error["input"]))
    reason = error["msg"].removeprefix("Value error, ")
    return f"{name.upper()}: {shown} cannot be used: {reason[0].lower()}{reason[1:]}."
