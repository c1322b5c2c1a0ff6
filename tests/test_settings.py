"""Settings: read once, strictly, and documented completely."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from consent_gateway.cli.docs import errors_markdown, kinds_markdown, settings_markdown, write_docs
from consent_gateway.errors import InputError
from consent_gateway.settings import CONCERNS, PREFIX, Settings

DOCS = Path(__file__).resolve().parents[1] / "docs"
SECRET = "hunter2-alice@example.org"


def env(**values: str) -> dict[str, str]:
    return {PREFIX + name.upper(): value for name, value in values.items()}


def refusal(values: dict[str, str]) -> InputError:
    with pytest.raises(InputError) as caught:
        Settings.from_environment(values)
    return caught.value


def test_an_empty_environment_is_safe() -> None:
    settings = Settings.from_environment({"PATH": "/bin"})
    assert settings.host == "127.0.0.1"
    assert not settings.allow_unsealed_keyring
    assert settings.otel_exporter == "none"
    assert settings.k_floor == 10


def test_values_are_read_with_their_types() -> None:
    settings = Settings.from_environment(env(port="9000", store_directory="/srv/gw", controller_country="DE"))
    assert settings.port == 9000
    assert settings.database() == "sqlite:////srv/gw/gateway.sqlite3"
    assert settings.keyring() == Path("/srv/gw/keyring.json")


def test_overrides_win_and_none_is_ignored() -> None:
    settings = Settings.from_environment(env(port="9000"), port=7000, host=None, store_directory=Path("/a"))
    assert (settings.port, settings.host, settings.store_directory) == (7000, "127.0.0.1", Path("/a"))


def test_unknown_variables_refuse_the_start_by_name() -> None:
    error = refusal(env(keyring_pasphrase_file=SECRET, port="1"))
    assert [field.path for field in error.fields] == [PREFIX + "KEYRING_PASPHRASE_FILE"]
    assert error.fields[0].code == "unknown_setting"


def test_variables_of_the_test_suite_are_left_alone() -> None:
    assert Settings.from_environment({PREFIX + "TEST_POSTGRES": "x"}).port == 8080


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "0"),
        ("port", "eighty"),
        ("allow_unsealed_keyring", "yes"),
        ("allow_unsealed_keyring", "1"),
        ("k_floor", "1"),
        ("controller_country", "de"),
        ("log_level", "verbose"),
        ("otel_sample_ratio", "1.5"),
        ("otel_sample_ratio", "nan"),
        ("log_origin", "two words"),
        ("database_url", f"mysql://u:{SECRET}@h/d"),
        ("database_url", f"postgresql+asyncpg://u:{SECRET}@h/d"),
        ("database_url", f"postgres://u:{SECRET}@h/d"),
    ],
)
def test_bad_values_are_named_and_never_quoted(name: str, value: str) -> None:
    error = refusal(env(**{name: value}))
    assert [field.path for field in error.fields] == [PREFIX + name.upper()]
    assert SECRET not in repr((error, error.detail, error.fields, error.__cause__))
    assert value not in error.detail


@pytest.mark.parametrize("scheme", ["postgresql://", "postgresql+psycopg://"])
def test_postgresql_gets_the_one_driver_and_stays_out_of_repr(scheme: str) -> None:
    settings = Settings.from_environment(env(database_url=f"{scheme}u:{SECRET}@h/d"))
    assert settings.database() == f"postgresql+psycopg://u:{SECRET}@h/d"
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()


def test_settings_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Settings.model_validate({"porto": 1})


def test_without_a_store_nothing_is_guessed() -> None:
    with pytest.raises(InputError) as caught:
        Settings().database()
    assert caught.value.fields[0].path == PREFIX + "STORE_DIRECTORY"
    with pytest.raises(InputError):
        Settings().keyring()


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"allow_unsealed_keyring": "true"}, "ALLOW_UNSEALED_KEYRING"),
        ({"log_level": "debug", "keyring_secret_file": "/run/s"}, "LOG_LEVEL"),
        ({}, "KEYRING_SECRET_FILE"),
    ],
)
def test_production_refuses_what_is_for_development(values: dict[str, str], name: str) -> None:
    Settings.from_environment(env(**values))
    error = refusal(env(environment="production", **values))
    assert [field.path for field in error.fields] == [PREFIX + name]


def test_seals_exclude_each_other() -> None:
    both = refusal(env(keyring_secret_file="/s", keyring_passphrase_file="/p"))
    assert both.fields[0].code == "refused"
    assert refusal(env(keyring_secret_file="/s", allow_unsealed_keyring="true")).fields[0].path.endswith("KEYRING")
    assert Settings.from_environment(env(environment="production", keyring_secret_file="/s")).keyring_secret_file
    for other in ({"keyring_secret_file": "/s"}, {"keyring_passphrase_file": "/p"}):
        assert refusal(env(kms_provider="aws", **other)).fields[0].path.endswith("KMS_PROVIDER")
    assert refusal(env(kms_provider="aws", allow_unsealed_keyring="true")).fields[0].path.endswith("KEYRING")
    assert Settings.from_environment(env(environment="production", kms_provider="aws")).kms_provider == "aws"


def test_keys_have_an_end_where_a_service_can_go_away() -> None:
    assert Settings.from_environment(env()).key_ttl() is None
    assert Settings.from_environment(env(kms_provider="transit")).key_ttl() == 900
    assert Settings.from_environment(env(key_ttl_seconds="60")).key_ttl() == 60
    assert refusal(env(key_ttl_seconds="0")).fields[0].path.endswith("KEY_TTL_SECONDS")


def test_every_setting_is_documented_with_what_an_attacker_gains() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        extra = field.json_schema_extra
        assert isinstance(extra, dict), name
        assert str(extra["attacker"]).endswith("."), name


def test_every_setting_belongs_to_one_concern_in_their_order() -> None:
    assert [name for concern in CONCERNS for name in concern.model_fields] == list(Settings.model_fields)


@pytest.mark.parametrize(
    ("name", "text"),
    [("errors.md", errors_markdown), ("settings.md", settings_markdown), ("log-kinds.md", kinds_markdown)],
)
def test_committed_documents_equal_the_generated(name: str, text: object) -> None:
    assert callable(text)
    assert (DOCS / name).read_text(encoding="utf-8") == text(), f"run cli.docs.write_docs: docs/{name} is stale"


def test_every_error_code_of_the_source_is_documented() -> None:
    source = Path(errors_markdown.__code__.co_filename).parents[1]
    codes = {
        code
        for path in source.rglob("*.py")
        for code in re.findall(r'^    code = "(\w+)"$', path.read_text("utf-8"), re.MULTILINE)
    }
    missing = {code for code in codes if f"\n## {code}\n" not in errors_markdown()}
    assert "vault_failure" in codes
    assert not missing, "name the module of these codes in cli.docs"


def test_a_changed_document_is_noticed(tmp_path: Path) -> None:
    """The comparison above goes red for a document with one setting missing."""
    for path in write_docs(tmp_path):
        text = path.read_text(encoding="utf-8")
        assert text == (DOCS / path.name).read_text(encoding="utf-8")
        assert "".join(text.splitlines(keepends=True)[:-1]) != text
