"""How settings are called in the environment: `CONSENT_GATEWAY_` and the field's name in capitals.

A variable of ours that is no setting is a mistake, and refused by its name; nothing here shows a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from consent_gateway.errors import FieldProblem, InputError

PREFIX = "CONSENT_GATEWAY_"
TEST_PREFIX = "CONSENT_GATEWAY_TEST_"  # read by the test-suite alone
CLIENT_PREFIX = "CONSENT_GATEWAY_CLIENT_"  # read by `consent-gateway import`, which is a client of a gateway


def variable(field: str) -> str:
    """Return what a field is called in the environment."""
    return PREFIX + field.upper()


def chosen(env: Mapping[str, str], fields: Iterable[str]) -> dict[str, str]:
    """Return what `env` says of `fields`, by field; InputError that lists each variable of ours beyond them."""
    names = {variable(field): field for field in fields}
    others = (TEST_PREFIX, CLIENT_PREFIX)
    ours = {key: value for key, value in env.items() if key.startswith(PREFIX) and not key.startswith(others)}
    unknown = tuple(
        FieldProblem(key[:80], "unknown_setting", "is not a setting; see docs/settings.md")
        for key in sorted(ours.keys() - names.keys())
    )
    if unknown:
        raise InputError("There are settings in the environment that the gateway does not know.", fields=unknown)
    return {names[key]: value for key, value in ours.items()}


def problems(error: ValidationError) -> tuple[FieldProblem, ...]:
    """Name every setting that is wrong, in the operator's spelling, without its value."""
    found: list[FieldProblem] = []
    for item in error.errors(include_input=False, include_url=False):
        if item["loc"]:
            found.append(
                FieldProblem(variable(str(item["loc"][0])), item["type"], "does not fit; see docs/settings.md")
            )
        else:  # a rule over several settings: our own constant text, which begins with the setting's name
            name, _, text = item["msg"].removeprefix("Value error, ").partition(": ")
            found.append(FieldProblem(variable(name), "refused", text))
    return tuple(found)
