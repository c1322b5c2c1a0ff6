"""The assembly: settings in, a gateway out. What every command and server needs, whatever is in front of it.

Order: keyring, store (verified), packs, gateway. Then, for whoever goes on: schema, self-check of the log, tombstones.
No web framework is loaded here, so that a command that needs the store alone starts without one.
"""

from __future__ import annotations

import resource

from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.kept.places import copies_of
from consent_gateway.audit.witness_policy import parse_policy
from consent_gateway.clock import Clock, system_clock
from consent_gateway.db.engine import Store
from consent_gateway.domain.quotas import Limits
from consent_gateway.errors import InputError
from consent_gateway.policies.choices import AS_SHIPPED, Choices, read_choices
from consent_gateway.policies.packs import load_builtin
from consent_gateway.services.deciding.decider import Decider
from consent_gateway.services.deciding.rules import CapRule, Rules
from consent_gateway.services.log.checkpoint_copies import Copies
from consent_gateway.services.log.self_check import SelfCheck
from consent_gateway.services.log.witnessing import Witnessing, witnesses_of
from consent_gateway.services.threads.log_keeper import Care
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.vault import Vault
from consent_gateway.settings import Settings
from consent_gateway.vault.custody import Custody
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.kms.port import Kms
from consent_gateway.vault.kms.providers import Provider, Service, connect
from consent_gateway.vault.protectors import (
    PassphraseProtector,
    SecretFileProtector,
    UnsafeUnsealedKeyring,
    read_secret,
)
from consent_gateway.vault.spool_file import SpoolFile
from consent_gateway.vault.tombstone_file import TombstoneFile

_DAY_SECONDS = 86_400


def build_gateway(settings: Settings, clock: Clock = system_clock) -> Gateway:
    """Put the parts together; refuses what would not keep the promises (see each part's errors)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold every key and what is being read (P7)
    keyring = Keyring.open(settings.keyring(), key_service(settings))
    store = Store(
        settings.database(), deadline=settings.store_deadline_seconds, statement=settings.store_statement_seconds
    )
    store.verify()
    rules = Rules(
        k_floor=settings.k_floor,
        audience_ttl_seconds=settings.audience_ttl_seconds,
        controller_country=settings.controller_country,
        sender_type=settings.sender_type,
        cap=CapRule(settings.contact_cap, settings.contact_cap_days * _DAY_SECONDS),
        key_epoch_seconds=settings.key_epoch_seconds,
        key_epoch_grace_seconds=settings.key_epoch_grace_seconds,
        map_seconds=settings.log_map_seconds,
        reveal_quota=Limits(settings.reveal_quota_per_hour, settings.reveal_quota_per_day),
        lookup_quota=Limits(settings.lookup_quota_per_hour, settings.lookup_quota_per_day),
        reveal_batch=settings.reveal_batch_limit_items,
        canary_suspends=settings.canary_suspends,
    )
    signer = Signer(settings.log_origin, keyring.log_signing_seed())
    decider = Decider(load_builtin(choices=law_choices(settings)))
    file = TombstoneFile(keyring, settings.tombstone_file(), settings.tombstone_copies)
    vault = Vault.over(Custody(keyring, settings.key_ttl()))
    spool = SpoolFile(settings.spool_file())
    return Gateway(store, vault, decider, clock, signer, rules, tombstones=file, spool=spool)


def key_service(settings: Settings) -> Kms:
    """Return what the keyring is sealed with."""
    if settings.kms_provider is not None:
        return connect(_service(settings, settings.kms_provider))
    if settings.keyring_secret_file is not None:
        return SecretFileProtector(settings.keyring_secret_file)
    if settings.keyring_passphrase_file is not None:
        return PassphraseProtector(read_secret(settings.keyring_passphrase_file))
    if settings.allow_unsealed_keyring:
        return UnsafeUnsealedKeyring()
    return SecretFileProtector(settings.keyring().with_suffix(".secret"))


def _service(settings: Settings, provider: Provider) -> Service:
    return Service(
        provider,
        settings.kms_key_prefix,
        settings.kms_timeout_seconds,
        url=settings.kms_url,
        ca_file=settings.kms_ca_file,
        mount=settings.kms_mount,
        secret_file=settings.kms_secret_file,
        region=settings.kms_region,
        days=settings.kms_deletion_days,
        library=settings.kms_hsm_module,
        token=settings.kms_hsm_token,
    )


def law_choices(settings: Settings) -> Choices:
    """Return what the operator chose where the law is open; raises `ChoiceError` that names file and line."""
    return AS_SHIPPED if settings.law_choices_path is None else read_choices(settings.law_choices_path)


def self_checked(settings: Settings, gateway: Gateway) -> SelfCheck:
    """Check the log against itself and every kept checkpoint, before anything is written; the gate says the result."""
    copies = Copies(gateway, copies_of(settings.checkpoint_places()))
    check = SelfCheck(gateway, copies, settings.log_check_bundles, settings.witness_policy_file is None)
    check.run()
    return check


def witnessing_of(settings: Settings, gateway: Gateway) -> Witnessing | None:
    """Return the witnesses of the policy file, None without one; InputError for a file that is no policy."""
    if settings.witness_policy_file is None:
        return None
    try:
        policy = parse_policy(settings.witness_policy_file.read_bytes())
    except OSError:
        raise InputError("The witness policy cannot be read") from None
    except ValueError as error:
        raise InputError(f"The witness policy is not one: {error}") from None
    return Witnessing(gateway, policy, witnesses_of(policy, settings.checkpoint_timeout_seconds))


def care(settings: Settings) -> Care:
    """Return how the log is looked after."""
    return Care(
        settings.log_check_seconds, settings.audit_pending_limit, settings.log_check_bundles, settings.witness_seconds
    )
