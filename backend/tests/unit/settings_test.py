"""Settings: every value that can be given wrong, and where it comes from."""

from datetime import timedelta
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, load_settings


def test_the_default_is_sqlite_in_the_data_folder_and_no_broker() -> None:
    settings = load_settings()
    assert settings.sqlalchemy_url() == "sqlite:////app/data/backend.db"
    assert settings.broker() is None
    assert settings.auto_migrate


def test_the_default_database_follows_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "/somewhere")
    assert load_settings().sqlalchemy_url() == "sqlite:////somewhere/backend.db"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_postgres_scheme_gets_the_psycopg_driver(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://user:pass@host/db")
    assert load_settings().sqlalchemy_url() == "postgresql+psycopg://user:pass@host/db"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "DATABASE_URL",
            "mysql://host/db",
            "DATABASE_URL: its value cannot be used: it must start",
        ),
        ("DATABASE_URL", "nonsense", "DATABASE_URL: its value cannot be used: it must start with"),
        ("REDIS_URL", "http://host", "REDIS_URL: its value cannot be used: it must start with"),
        ("BROKER_URL", "http://host", "BROKER_URL: its value cannot be used: it must start with"),
        ("REDIS_URL", "amqp://host", "REDIS_URL: its value cannot be used: it must start with"),
        ("IMPORT_HOSTS", "https://a.example", "IMPORT_HOSTS: 'https://a.example' cannot be used"),
        ("ANALYSIS_MEMORY", "255MiB", "ANALYSIS_MEMORY: '255MiB' cannot be used: a video of 1920"),
        ("REQUIRE_API_KEY", "maybe", "REQUIRE_API_KEY: 'maybe' cannot be used"),
        ("MAX_UPLOAD_BYTES", "lots", "MAX_UPLOAD_BYTES: 'lots' cannot be used: could not parse"),
        ("MAX_UPLOAD_BYTES", "0", "MAX_UPLOAD_BYTES: '0' cannot be used: input should be greater"),
        ("AUTO_MIGRATE", "perhaps", "AUTO_MIGRATE: 'perhaps' cannot be used"),
        ("ANALYSIS_TIMEOUT", "soon", "ANALYSIS_TIMEOUT: 'soon' cannot be used"),
        ("LEASE", "0", "LEASE: '0' cannot be used"),
        ("ANALYSIS_ATTEMPTS", "0", "ANALYSIS_ATTEMPTS: '0' cannot be used"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: 'loud' cannot be used"),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence_that_names_the_variable(
    variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert sentence in str(caught.value)


def test_a_secret_is_not_repeated_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://user:hunter2@host/db")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_two_bad_values_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("ANALYSIS_ATTEMPTS", "none")
    with pytest.raises(SettingsError, match=r"ANALYSIS_ATTEMPTS.*LOG_LEVEL"):
        load_settings()


def test_a_secret_can_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("postgres://user:pass@host/db\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    assert load_settings().sqlalchemy_url() == "postgresql+psycopg://user:pass@host/db"


def test_a_missing_secret_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY_FILE", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match=r"GEMINI_API_KEY_FILE: cannot read '.*absent'"):
        load_settings()


def test_a_secret_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("a")
    monkeypatch.setenv("GEMINI_API_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("GEMINI_API_KEY", "b")
    with pytest.raises(SettingsError, match="GEMINI_API_KEY_FILE and GEMINI_API_KEY are both set"):
        load_settings()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "")
    assert load_settings().broker() is None


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("BROKER_URL", "amqp://user:pass@host//"),
        ("BROKER_URL", "amqps://host"),
        ("BROKER_URL", "redis://host/1"),
        ("REDIS_URL", "rediss://host/1"),
    ],
)
def test_the_broker_has_two_names(variable: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, url)
    assert load_settings().broker() == url


def test_two_different_brokers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URL", "redis://one")
    monkeypatch.setenv("REDIS_URL", "redis://two:hunter2@host")
    with pytest.raises(SettingsError, match="it differs from BROKER_URL; keep one") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("REDIS_URL", "redis://one")
    assert load_settings().broker() == "redis://one"


def test_hosts_are_read_as_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPORT_HOSTS", " Cameras.example ,b.example,")
    assert load_settings().import_hosts == ("cameras.example", "b.example")


def test_settings_reach_a_child_process_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("DATABASE_URL", "postgres://user:hunter2@host/db"),
        ("LEASE", "1.5"),
        ("MAX_UPLOAD_BYTES", "5MiB"),
        ("IMPORT_HOSTS", "a.example,b.example"),
        ("IMPORT_DIR", str(tmp_path)),
        ("REQUIRE_API_KEY", "true"),
    ):
        monkeypatch.setenv(name, value)
    settings = load_settings()
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    assert Settings.from_json(settings.to_json()) == settings


def test_sizes_and_times_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_UPLOAD_BYTES", "512MiB")
    monkeypatch.setenv("ANALYSIS_TIMEOUT", "90")
    monkeypatch.setenv("LEASE", "1.5")
    settings = load_settings()
    assert settings.max_upload_bytes == 512 * 1024**2
    assert settings.analysis_timeout == timedelta(seconds=90)
    assert settings.lease == timedelta(seconds=1.5)


def test_settings_show_no_secret_when_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("DATABASE_URL", "postgres://user:hunter2@host/db")
    assert "hunter2" not in repr(load_settings())
