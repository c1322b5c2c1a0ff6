"""What can go wrong inside the vault.

One failure stands for every cryptographic refusal: a flipped bit, a swapped row, a wrong key, a destroyed epoch
and a truncated blob look alike, so that no caller becomes an oracle and no message carries key or plaintext.
"""

from __future__ import annotations

from consent_gateway.errors import GatewayError


class VaultError(GatewayError):
    """Sealed bytes cannot be opened in this context: damaged, moved, rolled back, or their key is destroyed."""

    code = "vault_failure"
    status = 500
    title = "Sealed data cannot be opened"
    hint = "If the person was erased this is final; else compare the keyring with the store it was made for."


class LowEntropyFieldError(GatewayError):
    """A blind index was asked for a field whose values could be guessed from the index alone."""

    code = "low_entropy_field"
    status = 500
    title = "This field must not be blind-indexed"
    hint = "Index unique identifiers only; keep attributes sealed, or use them as traits."
