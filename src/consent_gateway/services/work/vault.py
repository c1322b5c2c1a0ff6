"""The vault as use cases see it: identifiers in, keyed hashes out; a person's fields sealed and opened.

This is where the ring that knows bytes and contexts meets people. Plaintext leaves only through `open_contact` and
`open_profile`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from consent_gateway.db import resealing
from consent_gateway.db import subjects as subject_rows
from consent_gateway.db.engine import Session
from consent_gateway.db.subjects import SealedGroup, Token
from consent_gateway.domain.generations import Generation
from consent_gateway.domain.ids import RecipientId, SubjectId
from consent_gateway.domain.registers import Registers
from consent_gateway.errors import KeyringError
from consent_gateway.vault.blind_index import BlindIndexer
from consent_gateway.vault.custody import Custody, custody_of
from consent_gateway.vault.envelope import DataKey, SealContext, derive_audit_key
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.keys import LocalKeyProvider, dek_context
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.pseudonyms import Pseudonymiser
from consent_gateway.vault.shared_key import SharedKey

CONTACT, PROFILE, SENSITIVE, EVIDENCE, AUDIT_KEY = "contact", "profile", "sensitive", "evidence", "audit_key"
SEALED_REPLY = b"\0"  # how a reply begins that is kept under the gateway's own key; no JSON begins so
SCHEMA_VERSION = 1
GATEWAY_ITSELF = SubjectId(0)  # owns what belongs to nobody yet: quarantined rows


@dataclass(frozen=True, slots=True)
class Vault:
    """Keys and the operations on them."""

    provider: LocalKeyProvider
    indexer: BlindIndexer
    pseudonymiser: Pseudonymiser

    @classmethod
    def over(cls, held: Keyring | Custody) -> Vault:
        """Build the vault over one keyring; all its parts share the one custody of it."""
        custody = custody_of(held)
        return cls(LocalKeyProvider(custody), BlindIndexer(custody), Pseudonymiser(custody))

    @property
    def custody(self) -> Custody:
        """What holds the keyring in this process."""
        return self.provider.custody

    def token(self, form: Normalised, generation: Generation) -> Token:
        """Return the blind index value of an identifier under a generation.

        KeyringError, to be tried again, if neither this process nor its keyring's file has the key.
        """
        number, version = generation.number, generation.version(form.kind)
        value = form.under(version)
        try:
            return Token(form.kind, self.indexer.index(form.kind, value, number, version=version))
        except KeyringError:
            if not self.holds(generation):
                message = "The keyring lacks a generation of the index that the store is at: bring the newest one"
                raise KeyringError(message) from None
        return Token(form.kind, self.indexer.index(form.kind, value, number, version=version))

    def tokens(self, generation: Generation) -> Callable[[Normalised], Token]:
        """Return `token` under a generation for the identifiers of one batch: the key of a kind is prepared once."""
        hashers: dict[str, tuple[int, Callable[[str], bytes]]] = {}

        def token(form: Normalised) -> Token:
            held = hashers.get(form.kind)
            if held is None:
                found, version = self.token(form, generation), generation.version(form.kind)  # looks for the key
                hashers[form.kind] = version, self.indexer.hasher(form.kind, generation.number, version=version)
                return found
            return Token(form.kind, held[1](form.under(held[0])))

        return token

    def holds(self, generation: Generation) -> bool:
        """Tell whether the key of a generation is here; if not, the keyring's file is looked at first."""
        if generation.number not in self.custody.keyring.roots.index:
            self.custody.follow()
        return generation.number in self.custody.keyring.roots.index

    def lasting(self, kind: str, value: str) -> Token:
        """Return the token by which something is kept of an identifier of somebody nobody knows."""
        return Token(kind, self.indexer.lasting(kind, value))

    def tombstone(self, kind: str, value: str) -> bytes:
        """Return the hash under which an erased identifier is remembered."""
        return self.indexer.tombstone(kind, value)

    def digest(self, content: bytes) -> bytes:
        """Return a keyed 32-byte digest by which the same content is recognised: a plain one could be guessed from."""
        return hmac.digest(self.provider.keyring.audit_commitment_key(), b"content/v1\0" + content, "sha256")

    def reply_name(self, key: str) -> str:
        """Return what an idempotency key is kept as: a caller may name a request after a person (promise P7)."""
        return self.digest(b"idempotency-key/v1\0" + key.encode()).hex()

    def new_key(self, subject_id: SubjectId, least_epoch: int) -> tuple[bytes, bytes]:
        """Return a fresh data key for a person and its wrapping; `least_epoch` and errors: `require_epoch`."""
        self.require_epoch(least_epoch)
        return self.provider.new_dek(dek_context(subject_id))

    def require_epoch(self, least: int) -> None:
        """Raise `KeyringError` unless the keyring holds an epoch from `least` on; its file is looked at first.

        `least` is the registers' of this transaction, which holds them. An epoch before it may be destroyed by now: a
        process that slept, or was given an older keyring, would put people under a key that nobody has.
        """
        if self.provider.keyring.current_epoch < least:
            self.provider.refresh()
        if self.provider.keyring.current_epoch < least:
            raise KeyringError("The keyring is older than the store: bring the newest one")

    def new_people(
        self, people: Mapping[SubjectId, Mapping[str, Mapping[str, Any]]], least_epoch: int
    ) -> tuple[list[tuple[SubjectId, bytes]], list[SealedGroup]]:
        """Return the wrapping of a fresh data key for each person, and each of their first groups sealed under it.

        `least_epoch` and errors: `require_epoch`.
        """
        self.require_epoch(least_epoch)
        made = self.provider.new_deks([dek_context(i) for i in people])
        sealed = DataKey.seal_all(
            [(dek, _plain(i, groups)) for (i, groups), (dek, _) in zip(people.items(), made, strict=True)]
        )
        wraps: list[tuple[SubjectId, bytes]] = [(i, wrapped) for i, (_, wrapped) in zip(people, made, strict=True)]
        return wraps, [
            SealedGroup(i, name, SCHEMA_VERSION, 1, one)
            for (i, groups), ones in zip(people.items(), sealed, strict=True)
            for name, one in zip(groups, ones, strict=True)
        ]

    def unwrap(self, subject_id: SubjectId, wrapped: bytes) -> bytes:
        """Return a person's data key."""
        return self.provider.unwrap(wrapped, dek_context(subject_id))

    def audit_key(self, subject_id: SubjectId, wrapped: bytes) -> bytes:
        """Return the key of the person's commitments in the log."""
        return derive_audit_key(self.unwrap(subject_id, wrapped))

    def audit_keys(self, session: Session, subject_id: SubjectId) -> list[bytes]:
        """Return the keys under which the log has commitments about a person: today's, and those from before.

        Empty for nobody. A commitment opens under the one it was made with; which one that is, only trying tells.
        """
        dek = self.keys(session, [subject_id]).get(subject_id)
        if dek is None:
            return []
        retired = resealing.retired_keys(session, subject_id)
        return [derive_audit_key(dek), *(open_retired(dek, subject_id, n, sealed) for n, sealed in retired)]

    def keys(self, session: Session, ids: Sequence[SubjectId]) -> dict[SubjectId, bytes]:
        """Return the unwrapped data keys of the people that exist."""
        return {i: self.unwrap(i, wrapped) for i, wrapped in subject_rows.wrapped_keys(session, ids).items()}

    def pseudonym(self, subject_id: SubjectId, recipient: RecipientId, registers: Registers) -> str:
        """Return what `recipient` sees of a person from now on: a name of the current epoch."""
        sector = registers.sector(recipient)
        return self.pseudonymiser.pseudonym(subject_id, sector, registers.epochs_of(sector).current)

    def resolve(self, text: str, recipient: RecipientId, registers: Registers, now: int) -> SubjectId | None:
        """Return the person behind a pseudonym of `recipient` that counts at `now`; None for any other text.

        A name outlives its person: whether they still exist is for the caller to ask (`people.named_by`).
        """
        sector = registers.sector(recipient)
        found = self.pseudonymiser.resolve(text, sector, registers.epochs_of(sector).counting(now))
        return None if not found else SubjectId(found)


def seal_group(dek: bytes, subject_id: SubjectId, name: str, version: int, content: Mapping[str, Any]) -> SealedGroup:
    """Seal one group of a person's fields at a row version (1 for the first)."""
    context = SealContext(subject_id, name, SCHEMA_VERSION, version)
    sealed = DataKey(dek).seal(context, msgspec.json.encode(content))
    return SealedGroup(subject_id, name, SCHEMA_VERSION, version, sealed)


def _plain(subject_id: SubjectId, groups: Mapping[str, Mapping[str, Any]]) -> list[tuple[SealContext, bytes]]:
    return [
        (SealContext(subject_id, name, SCHEMA_VERSION, 1), msgspec.json.encode(content))
        for name, content in groups.items()
    ]


def open_group(dek: bytes, group: SealedGroup) -> dict[str, Any]:
    """Open one group; VaultError unless it is the very ciphertext that was written there."""
    context = SealContext(group.subject_id, group.name, group.schema_version, group.row_version)
    content: dict[str, Any] = msgspec.json.decode(DataKey(dek).open(context, group.sealed))
    return content


def reseal_group(old: bytes, new: bytes, group: SealedGroup) -> SealedGroup:
    """Open a group under one data key and seal it under another, one row version on, its bytes unchanged."""
    context = SealContext(group.subject_id, group.name, group.schema_version, group.row_version)
    content, version = DataKey(old).open(context, group.sealed), group.row_version + 1
    sealed = DataKey(new).seal(replace(context, row_version=version), content)
    return SealedGroup(group.subject_id, group.name, group.schema_version, version, sealed)


def seal_retired(dek: bytes, subject_id: SubjectId, number: int, audit_key: bytes) -> bytes:
    """Seal the key of a person's commitments from before their data key was changed."""
    return DataKey(dek).seal(SealContext(subject_id, AUDIT_KEY, SCHEMA_VERSION, number), audit_key)


def open_retired(dek: bytes, subject_id: SubjectId, number: int, sealed: bytes) -> bytes:
    """Open what `seal_retired` sealed."""
    return DataKey(dek).open(SealContext(subject_id, AUDIT_KEY, SCHEMA_VERSION, number), sealed)


def seal_bytes(dek: bytes, subject_id: SubjectId, content: bytes) -> bytes:
    """Seal one free-standing piece of evidence, or what belongs to nobody yet."""
    return _free_standing(dek, subject_id).seal(SealContext(subject_id, EVIDENCE, SCHEMA_VERSION, 1), content)


def open_bytes(dek: bytes, subject_id: SubjectId, sealed: bytes) -> bytes:
    """Open what `seal_bytes` sealed."""
    return _free_standing(dek, subject_id).open(SealContext(subject_id, EVIDENCE, SCHEMA_VERSION, 1), sealed)


def _free_standing(dek: bytes, subject_id: SubjectId) -> DataKey | SharedKey:
    return SharedKey(dek) if subject_id == GATEWAY_ITSELF else DataKey(dek)
