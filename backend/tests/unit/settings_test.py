"""Settings: sources, parsing, and an error for every invalid value."""

from datetime import timedelta
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, load_settings
from app.worker.config import RunnerConfig

SIGN_IN = {
    "GOOGLE_CLIENT_ID": "films",
    "GOOGLE_CLIENT_SECRET": "hunter2",
    "GOOGLE_READERS": "Films.example, rob@elsewhere.example",
    "GOOGLE_EDITORS": "ann@films.example",
    "PUBLIC_URL": "https://films.example/",
}


def test_default_is_sqlite_in_data_dir_without_a_broker() -> None:
    settings = load_settings()
    assert settings.sqlalchemy_url() == "sqlite:////app/data/backend.db"
    assert settings.broker() is None
    assert settings.auto_migrate


def test_default_database_follows_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "/somewhere")
    assert load_settings().sqlalchemy_url() == "sqlite:////somewhere/backend.db"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_postgres_scheme_gets_the_psycopg_driver(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://user:pass@host/db")
    assert load_settings().sqlalchemy_url() == "postgresql+psycopg://user:pass@host/db"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DATABASE_URL", "mysql://host/db", "DATABASE_URL: invalid value: it must start with"),
        ("DATABASE_URL", "nonsense", "DATABASE_URL: invalid value: it must start with"),
        ("REDIS_URL", "http://host", "REDIS_URL: invalid value: it must start with"),
        ("BROKER_URL", "http://host", "BROKER_URL: invalid value: it must start with"),
        ("REDIS_URL", "amqp://host", "REDIS_URL: invalid value: it must start with"),
        ("IMPORT_HOSTS", "https://a.example", "IMPORT_HOSTS: invalid value 'https://a.example'"),
        ("WEBHOOK_HOSTS", "a.example:80", "WEBHOOK_HOSTS: invalid value 'a.example:80'"),
        (
            "ALLOWED_HOSTS",
            "https://a.example",
            "'https://a.example' is not a host name or IP address",
        ),
        ("ALLOWED_HOSTS", "a.example:8000", "leave out scheme, port and path"),
        ("ALLOWED_HOSTS", "a.example/x", "ALLOWED_HOSTS: invalid value 'a.example/x'"),
        ("ALLOWED_HOSTS", "*example", "ALLOWED_HOSTS: invalid value '*example'"),
        ("ALLOWED_HOSTS", "[::x]", "ALLOWED_HOSTS: invalid value '[::x]'"),
        ("ANALYSIS_MEMORY", "255MiB", "ANALYSIS_MEMORY: invalid value '255MiB': at least 256MiB"),
        ("REQUIRE_API_KEY", "maybe", "REQUIRE_API_KEY: invalid value 'maybe'"),
        ("MAX_UPLOAD_BYTES", "lots", "MAX_UPLOAD_BYTES: invalid value 'lots': could not parse"),
        ("MAX_UPLOAD_BYTES", "0", "MAX_UPLOAD_BYTES: invalid value '0': input should be greater"),
        ("AUTO_MIGRATE", "perhaps", "AUTO_MIGRATE: invalid value 'perhaps'"),
        ("ANALYSIS_TIMEOUT", "soon", "ANALYSIS_TIMEOUT: invalid value 'soon'"),
        ("LEASE", "0", "LEASE: invalid value '0'"),
        ("ANALYSIS_ATTEMPTS", "0", "ANALYSIS_ATTEMPTS: invalid value '0'"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: invalid value 'loud'"),
        ("RETENTION_AGE", "30", "RETENTION_AGE: invalid value '30': it must be between an hour"),
        ("RETENTION_AGE", "-P30D", "a plain number is in seconds, 30 days are P30D"),
        ("RETENTION_AGE", "P200Y", "RETENTION_AGE: invalid value 'P200Y': it must be between"),
        ("RETENTION_AGE", "a month", "RETENTION_AGE: invalid value 'a month'"),
        ("RETENTION_BYTES", "1GiB", "it is less than MAX_UPLOAD_BYTES (2.0GiB)"),
        ("RETENTION_BYTES", "0", "RETENTION_BYTES: invalid value '0': it is less than"),
        ("RETENTION_BYTES", "much", "RETENTION_BYTES: invalid value 'much': could not parse"),
        ("GOOGLE_READERS", "ann", "'ann' is neither an e-mail address nor a domain"),
        ("GOOGLE_EDITORS", "*.a.example", "'*.a.example' is neither an e-mail address nor a"),
        ("GOOGLE_EDITORS", "a@b@c.example", "'a@b@c.example' is neither"),
        ("GOOGLE_ISSUER", "http://a.example", "GOOGLE_ISSUER: invalid value 'http://a.example'"),
        ("GOOGLE_ISSUER", "https://a@b.example", "it must start with https://, or with http://"),
        ("PUBLIC_URL", "http://a.example", "or with http:// and a loopback host"),
        ("PUBLIC_URL", "https://a.example/films", "PUBLIC_URL: invalid value"),
        ("PUBLIC_URL", "https://a.example:x", "it must start with https://"),
        ("PUBLIC_URL", "a.example", "it must start with https://"),
    ],
)
def test_invalid_value_is_named_in_the_error(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert message in str(caught.value)


def test_secret_is_not_repeated_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://user:hunter2@host/db")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_all_invalid_values_are_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("ANALYSIS_ATTEMPTS", "none")
    with pytest.raises(SettingsError, match=r"ANALYSIS_ATTEMPTS.*LOG_LEVEL"):
        load_settings()


def test_secret_can_be_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("postgres://user:pass@host/db\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    assert load_settings().sqlalchemy_url() == "postgresql+psycopg://user:pass@host/db"


def test_missing_secret_file_is_named_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY_FILE", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match=r"GEMINI_API_KEY_FILE: cannot read '.*absent'"):
        load_settings()


def test_secret_given_twice_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("a")
    monkeypatch.setenv("GEMINI_API_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("GEMINI_API_KEY", "b")
    with pytest.raises(SettingsError, match="GEMINI_API_KEY_FILE and GEMINI_API_KEY are both set"):
        load_settings()


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_broker_has_two_variable_names(
    variable: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, url)
    assert load_settings().broker() == url


def test_two_different_brokers_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URL", "redis://one")
    monkeypatch.setenv("REDIS_URL", "redis://two:hunter2@host")
    with pytest.raises(SettingsError, match="it differs from BROKER_URL; set only one") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("REDIS_URL", "redis://one")
    assert load_settings().broker() == "redis://one"


def test_hosts_are_parsed_as_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPORT_HOSTS", " Cameras.example ,b.example,")
    assert load_settings().import_hosts == ("cameras.example", "b.example")


def test_allowed_hosts_are_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "Films.example, *.lan ,10.0.0.7,[FD00:0::1],::2,*,")
    expected = ("films.example", "*.lan", "10.0.0.7", "fd00::1", "::2", "*")
    assert load_settings().allowed_hosts == expected
    monkeypatch.setenv("ALLOWED_HOSTS", "")
    assert load_settings().allowed_hosts == ()


def test_settings_reach_a_child_process_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("DATABASE_URL", "postgres://user:hunter2@host/db"),
        ("LEASE", "1.5"),
        ("LOG_LEVEL", "debug"),
        ("DATA_DIR", str(tmp_path / "data")),
        ("FFMPEG", "/opt/ffmpeg"),
        ("MAX_DURATION", "PT36H0.25S"),
        ("ANALYSIS_MEMORY", "512MiB"),
        ("ANALYSIS_ATTEMPTS", "7"),
        ("MAX_UPLOAD_BYTES", "5MiB"),
        ("IMPORT_HOSTS", "a.example,b.example"),
        ("ALLOWED_HOSTS", "a.example,[::1]"),
        ("IMPORT_DIR", str(tmp_path)),
        ("REQUIRE_API_KEY", "true"),
        ("GEMINI_API_KEY", "hunter3"),
        ("REDIS_URL", "redis://:hunter4@host/0"),
    ):
        monkeypatch.setenv(name, value)
    settings = load_settings()
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    config = RunnerConfig.from_settings(settings)
    assert config.database_url == settings.sqlalchemy_url()
    for name in RunnerConfig.__dataclass_fields__.keys() - {"database_url"}:
        assert getattr(config, name) == getattr(settings, name)
    text = config.to_json()
    assert RunnerConfig.from_json(text) == config
    assert "\n" not in text
    assert [secret for secret in ("hunter2", "hunter3", "hunter4") if secret in text] == ["hunter2"]


def test_sizes_and_durations_accept_common_notation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_UPLOAD_BYTES", "512MiB")
    monkeypatch.setenv("ANALYSIS_TIMEOUT", "90")
    monkeypatch.setenv("LEASE", "1.5")
    settings = load_settings()
    assert settings.max_upload_bytes == 512 * 1024**2
    assert settings.analysis_timeout == timedelta(seconds=90)
    assert settings.lease == timedelta(seconds=1.5)


@pytest.mark.parametrize("key", ["two words", "new\nline", "kéy", "tab\t"])
def test_key_that_is_no_header_is_refused_without_being_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", key)
    with pytest.raises(SettingsError, match=r"GEMINI_API_KEY: .*printable ASCII") as caught:
        load_settings()
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://gateway.example", "https:// is required, except for 127.0.0.1"),
        ("http://127.0.0.1.gateway.example", "https:// is required"),
        ("http://10.0.0.1:8080", "https:// is required"),
        ("ftp://gateway.example", "start with https:// and name a host"),
        ("https://", "start with https:// and name a host"),
        ("gateway.example", "start with https:// and name a host"),
        ("https://gateway.example/a b", "start with https:// and name a host"),
        ("https://user:pass@gateway.example", "leave out user name, query and fragment"),
        ("https://gateway.example/?key=1", "leave out user name, query and fragment"),
        ("https://gateway.example:99999", "not a valid URL"),
        ("https://[::1", "not a valid URL"),
    ],
)
def test_unsafe_addresses_of_the_gemini_api_are_refused(
    text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_URL", text)
    with pytest.raises(SettingsError, match=f"^GEMINI_URL: .*{words}"):
        load_settings()


def test_gateways_and_local_servers_may_stand_for_the_gemini_api(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for text in ("https://gateway.example/gemini/", "http://127.0.0.1:8080", "http://[::1]:1"):
        monkeypatch.setenv("GEMINI_URL", text)
        assert load_settings().gemini_url == text.rstrip("/")


@pytest.mark.parametrize("model", ["a/b", "../x", "a b", "a?b", "x" * 101, "models/gemini"])
def test_model_is_one_name(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_MODEL", model)
    with pytest.raises(SettingsError, match=r"^GEMINI_MODEL: "):
        load_settings()


def test_repr_of_settings_contains_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SIGN_IN.items():
        monkeypatch.setenv(name, value)
    for name in ("GEMINI_API_KEY", "GOOGLE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("DATABASE_URL", "postgres://user:hunter2@host/db")
    assert "hunter2" not in repr(load_settings())


def test_sign_in_is_off_unless_it_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load_settings().signs_in()
    assert not load_settings().requires_authentication()
    for name, value in SIGN_IN.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.signs_in()
    assert settings.requires_authentication()
    assert settings.google_readers == ("films.example", "rob@elsewhere.example")
    assert (settings.public_url, settings.google_issuer) == (
        "https://films.example",
        "https://accounts.google.com",
    )
    assert "hunter2" not in RunnerConfig.from_settings(settings).to_json()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"GOOGLE_CLIENT_ID": ""}, "set both GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET, or"),
        ({"GOOGLE_CLIENT_SECRET": ""}, "set both GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET, or"),
        (
            {"GOOGLE_READERS": "", "GOOGLE_EDITORS": " , "},
            "nobody may sign in; list addresses or domains in GOOGLE_READERS or GOOGLE_EDITORS.",
        ),
        ({"GOOGLE_EDITORS": "films.example"}, "films.example is in both GOOGLE_READERS and"),
        ({"PUBLIC_URL": ""}, "GOOGLE_CLIENT_ID is set, but not PUBLIC_URL"),
    ],
)
def test_incomplete_sign_in_is_refused(
    changed: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (SIGN_IN | changed).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
