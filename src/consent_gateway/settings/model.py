"""The one object: all concerns joined, and what must hold between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from consent_gateway.errors import InputError
from consent_gateway.settings.keys import KeySettings
from consent_gateway.settings.law import LawSettings
from consent_gateway.settings.log import LogSettings
from consent_gateway.settings.process import ProcessSettings
from consent_gateway.settings.quotas import QuotaSettings
from consent_gateway.settings.store import StoreSettings
from consent_gateway.settings.variables import chosen, problems

# In the order in which they are documented.
CONCERNS: tuple[type[BaseModel], ...] = (
    ProcessSettings,
    StoreSettings,
    KeySettings,
    LogSettings,
    LawSettings,
    QuotaSettings,
)


class Settings(  # backwards: pydantic takes the fields of the last base first
    QuotaSettings, LawSettings, LogSettings, KeySettings, StoreSettings, ProcessSettings, title="Settings"
):
    """Everything that an operator may choose; build it with `from_environment`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def from_environment(cls, env: Mapping[str, str], **overrides: object) -> Self:
        """Read the `CONSENT_GATEWAY_*` variables of `env`; `overrides` (fields by name) win, None is ignored.

        Raises InputError that lists every unknown variable and every value that does not fit, by name only.
        """
        found = chosen(env, cls.model_fields)
        given = {field: value for field, value in overrides.items() if value is not None}
        try:
            return cls.model_validate({**found, **given})
        except ValidationError as error:
            raise InputError("The settings are not valid.", fields=problems(error)) from None

    @model_validator(mode="after")
    def _safe_in_production(self) -> Self:
        """Refuse in production what is for development alone (principle: dangerous things refuse to start)."""
        if self.environment != "production":
            return self
        if self.allow_unsealed_keyring:
            raise ValueError("allow_unsealed_keyring: is refused in production")
        if self.log_level == "debug":
            raise ValueError("log_level: debug is refused in production")
        if not self.is_sealed():
            raise ValueError(
                "keyring_secret_file: production needs keyring_secret_file, keyring_passphrase_file or kms_provider"
            )
        return self
