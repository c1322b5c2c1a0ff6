"""The one error tree and its catalogue.

Every failure that a caller can cause or cure is a `GatewayError`: the class declares a stable `code`, the
HTTP `status`, a `title` and a `hint` that says what to do. `api.problems` renders them as problem details
(RFC 9457) and `docs/errors.md` is generated from this module. Messages never contain personal data: they
name the field, never its value. Anything that is not a `GatewayError` is a bug and loses its detail at the edge.

::

    GatewayError
    ├── InputError            400  ── MalformedBodyError, TooLargeError (413), MediaTypeError (415), SignalError
    ├── AuthenticationError   401
    ├── ForbiddenError        403
    ├── NotFoundError         404
    ├── ConflictError         409  ── RaceError, IdempotencyError (422), ErasedError, HeldError, IncompleteError
    ├── QuotaError            429
    └── UnavailableError      503  ── StoreError, AuditError, KeyringError (500 at start), KeyServiceError,
                                  NoesFirstError, TombstoneError; LogHaltedError and AuditBacklogError below AuditError,
                                  CommitInDoubtError below StoreError
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong with one field: a JSON path such as `$.items[3].email`, a code, and what to do."""

    path: str
    code: str
    message: str


class GatewayError(Exception):
    """Root of all expected failures; `detail` is safe to show to the caller, `fields` say where it is wrong."""

    code: ClassVar[str] = "gateway_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "The gateway could not do this"
    hint: ClassVar[str] = "Try again; if it persists, look at the server's log for the request id."

    def __init__(
        self, detail: str = "", *, fields: tuple[FieldProblem, ...] = (), retry_after: int | None = None
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.fields = fields
        self.retry_after = retry_after


class InputError(GatewayError):
    """The request is understood but a field of it is missing, unknown, of the wrong type or impossible."""

    code = "invalid_input"
    status = 400
    title = "A field of the request is not valid"
    hint = "Correct the fields listed in `errors`; nothing of the request was carried out."


class MalformedBodyError(InputError):
    """The body is not one well-formed JSON value (RFC 8259): bad UTF-8, duplicate keys, NaN, too deep."""

    code = "malformed_body"
    title = "The body is not well-formed JSON"
    hint = "Send UTF-8 JSON without duplicate keys, at most 32 levels deep."


class TooLargeError(InputError):
    """The body or a batch is larger than the route's limit."""

    code = "too_large"
    status = 413
    title = "The request is too large"
    hint = "Split the batch: at most 1,000 items and the size named in the detail."


class MediaTypeError(InputError):
    """The content type of the body is not the one that the route reads."""

    code = "unsupported_media_type"
    status = 415
    title = "The content type is not supported"
    hint = "Send `Content-Type: application/json` (or `application/x-ndjson`, `text/csv` where the route says so)."


class SignalError(InputError):
    """A TCF, GPP, US Privacy or GPC value does not say anything: the detail names section, field and bit offset."""

    code = "undecodable_signal"
    title = "The signal cannot be decoded"
    hint = "Send the string as the consent platform made it, whole and unchanged; see docs/signals.md."


class AuthenticationError(GatewayError):
    """No API key, an unknown one, or a revoked one; the three look alike on purpose."""

    code = "unauthenticated"
    status = 401
    title = "A valid API key is needed"
    hint = "Send `Authorization: Bearer <key>`; keys are made with `consent-gateway keys issue`."


class ForbiddenError(GatewayError):
    """The key is valid and lacks the scope."""

    code = "forbidden"
    status = 403
    title = "The API key lacks the scope for this"
    hint = "Ask for a key with the scope named in the detail."


class WeakPseudonymError(ForbiddenError):
    """Digests of addresses were asked for somebody or something that gets pseudonyms (EDPB Guidelines 01/2025 §88)."""

    code = "weak_pseudonym"
    title = "An unkeyed digest of an address is no pseudonym"
    hint = "It discloses an identifier: to a registered ad platform under contract, by consent, and to nobody else."


class NotFoundError(GatewayError):
    """No such thing, or not for this caller; the two look alike on purpose."""

    code = "not_found"
    status = 404
    title = "There is no such thing here"
    hint = "Check the identifier; pseudonyms are valid for their own recipient only."


class MethodNotAllowedError(GatewayError):
    """The path exists, the method does not."""

    code = "method_not_allowed"
    status = 405
    title = "The method is not allowed here"
    hint = "See the API documentation at /docs."


class ConflictError(GatewayError):
    """The request contradicts what is stored."""

    code = "conflict"
    status = 409
    title = "This contradicts what is stored"
    hint = "Read the current state and decide again."


class RaceError(ConflictError):
    """Two requests wrote the same thing at the same time; this one did nothing and may be sent again."""

    code = "write_race"
    title = "Another request wrote the same thing at the same time"
    hint = "Send the request again; nothing of it was carried out."


class IdempotencyError(ConflictError):
    """The same idempotency key came with another request."""

    code = "idempotency_key_reused"
    status = 422
    title = "The idempotency key was used for another request"
    hint = "Use a new key for a new request; repeat the same request with the same key."


class ErasedError(ConflictError):
    """The identifier belongs to an erased person; a tombstone keeps them from coming back (GDPR Art 17)."""

    code = "erased"
    title = "This person was erased"
    hint = "Do not send this person's data again; a tombstone refuses it."


class HeldError(ConflictError):
    """A legal hold is in force on the person, so that nothing of them may be erased (GDPR Art 17(3))."""

    code = "held"
    title = "A legal hold keeps this person's data"
    hint = "Lift the hold when what it is for is over; an erasure that was asked for meanwhile is then carried out."


class IncompleteError(ConflictError):
    """A record or receipt has mandatory fields that no register can fill; it says nothing rather than half of it."""

    code = "record_incomplete"
    title = "The registers do not hold what a record has to say"
    hint = "Register what is listed in `errors` (controller, processing of the purpose, parties, notice), ask again."


class AlreadyConfirmedError(ConflictError):
    """The request for a second step was confirmed before; it counts once."""

    code = "already_confirmed"
    title = "This was confirmed before"
    hint = "Nothing more is needed."


class OvertakenError(ConflictError):
    """The person said no after the request for the second step; the no holds."""

    code = "confirmation_overtaken"
    title = "A no came after this request"
    hint = "Ask anew if the person wants it again."


class ConfirmationExpiredError(GatewayError):
    """The time for the second step is over."""

    code = "confirmation_expired"
    status = 410
    title = "The time to confirm is over"
    hint = "Ask anew; the answer carries a new token."


class QuotaError(GatewayError):
    """The key has asked about as many different people as it may within an hour or a day; nothing was told."""

    code = "quota_exhausted"
    status = 429
    title = "The quota of this key is used up"
    hint = "Retry after the seconds in `Retry-After`, or ask an officer for a higher quota; see docs/reveal.md."


class UnavailableError(GatewayError):
    """A part the answer depends on is down; nothing was done."""

    code = "unavailable"
    status = 503
    title = "The gateway cannot answer safely right now"
    hint = "Retry after the seconds in `Retry-After`; nothing was carried out."


class StoreError(UnavailableError):
    """The store cannot be reached, is full, or is not configured to be durable."""

    code = "store_unavailable"
    title = "The store is not available"


class CommitInDoubtError(StoreError):
    """The store was asked to commit and did not say whether it has: state and entry are both there, or neither is.

    The same request with the same Idempotency-Key finds out, and is carried out once.
    """

    code = "commit_in_doubt"
    title = "The store did not say whether it committed"
    hint = "Repeat the request with the same Idempotency-Key: what was carried out is then not carried out again."


class AuditError(UnavailableError):
    """The audit log cannot take the entry, so the action did not happen (promise P4)."""

    code = "audit_unavailable"
    title = "The audit log is not available"


class LogHaltedError(AuditError):
    """The stored log is not the one that was published: set back, forked, of another key, or altered (promise P6).

    Nothing is written until it is again, or until two people open a new epoch; harmless reads go on.
    """

    code = "log_halted"
    title = "The audit log does not stand, so nothing is written"
    hint = "Operators: run `consent-gateway audit status`; docs/operations.md says what to do. Nothing was carried out."


class AuditBacklogError(AuditError):
    """More entries wait to be integrated than may: nothing new is taken until there are fewer."""

    code = "audit_backlog"
    title = "Too many entries wait for the audit log"


class KeyringError(UnavailableError):
    """The keyring is missing, unreadable, of wrong permissions or sealed under another secret."""

    code = "keyring_unavailable"
    title = "The keyring cannot be opened"
    hint = "Check the keyring's path, its mode (0600) and the passphrase; see `consent-gateway doctor`."


class OwnKeyLostError(UnavailableError):
    """The gateway's own key cannot be opened any more: the store is a backup from before a destroyed key epoch."""

    code = "own_key_lost"
    title = "The gateway's own key is lost"
    hint = "Operators: `consent-gateway keys own-key status`; docs/erasure.md says how two people make a new one."


class KeyServiceError(UnavailableError):
    """The key management system does not answer, or not any more within the life of the keys that were kept.

    Reads go on for that life; what needs a new key is refused at once, because its data could be lost.
    """

    code = "key_service_unavailable"
    title = "The key service is not available"
    hint = "Retry after the seconds in `Retry-After`; operators: see docs/keys.md and `consent-gateway doctor`."


class NoesFirstError(UnavailableError):
    """Noes and rights requests that were kept while they could not be carried out are carried out before any answer."""

    code = "noes_first"
    title = "What was refused meanwhile is carried out first"
    hint = "Retry after the seconds in `Retry-After`; operators: `GET /v1/keys` tells how many wait (`deferred`)."


class TombstoneError(UnavailableError):
    """The tombstone file is missing, damaged, shorter than the store says, or cannot be written.

    An erasure that is answered so stands; it is finished as soon as the file can be written, and counts from then.
    """

    code = "tombstones_unavailable"
    title = "The tombstone file cannot be used"
    hint = "Run `consent-gateway keys tombstones verify`; docs/erasure.md says what to do next."


class PolicyError(GatewayError):
    """A policy pack is not valid; it permits nothing until it is."""

    code = "policy_invalid"
    status = 500
    title = "A policy pack is not valid"
    hint = "Run `consent-gateway policy list` and correct the pack at the line named."


class InternalError(GatewayError):
    """A bug; the detail stays in the log."""

    code = "internal_error"
    status = 500
    title = "Something went wrong inside the gateway"
    hint = "Report the request id; the action was not carried out."


def catalogue() -> Iterator[type[GatewayError]]:
    """Yield every concrete error class once, in the order of the tree."""
    stack: list[type[GatewayError]] = [GatewayError]
    while stack:
        cls = stack.pop(0)
        yield cls
        stack = cls.__subclasses__() + stack
