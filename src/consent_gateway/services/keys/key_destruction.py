"""Destroying a key for good: one protocol for every kind of key that two people can decide to lose.

It cannot be taken back, so it is two acts of one transaction each, with the irreversible one between them:

1. `decide`: two keys approved it, and nothing needs the key any more. The entry comes first (promise P4): whoever reads
   the log sees what was decided even if the machine dies now.
2. `carry_out`: the key leaves the keyring, durably. Whoever finds something decided and not done does it again.
3. An entry says that it is done.

What may stand in the way, and what the entries say, is said by the kind: `epoch_destruction`, `index_destruction`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db.destructions import Destruction, Destructions
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.errors import ConflictError
from consent_gateway.services.work import approvals
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.vault.keyring import Keyring

Said = tuple[EntryKind, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Destroyable:
    """A kind of key that can be destroyed.

    `called` is what a proposal and an error call its number. `require_past` raises if it cannot even be proposed,
    `require_needless` if something still needs it; both raise ConflictError or NotFoundError. `held` are the numbers
    in a keyring, `without` writes the keyring without one. `deciding` and `done` are the entries.
    """

    called: str
    action: Action
    rows: Destructions
    require_past: Callable[[Work, int], None]
    require_needless: Callable[[Work, int], None]
    held: Callable[[Keyring], Collection[int]]
    without: Callable[[Keyring, int], Keyring]
    deciding: Callable[[int, Approval], Said]
    done: Callable[[Keyring, Destruction], Said]

    def propose(self, work: Work, number: int) -> Approval:
        """Propose it; somebody else approves it. Raises what `require_past` does, and the errors of `approvals`."""
        self.require_past(work, number)
        return approvals.propose(work, self.action, {self.called: number})

    def decide(self, work: Work, number: int, order: Approval | None = None) -> None:
        """Decide it, by an approval of exactly that or by a standing order.

        ConflictError says what is still in the way; NotFoundError if there is no such key; ForbiddenError if nobody
        approved it.
        """
        work.changed_registers()  # whoever is writing about people is waited for, and sees the newer keyring next
        work.gateway.vault.provider.refresh()
        self.require_past(work, number)
        if self.is_decided(work, number):
            raise ConflictError(f"this {self.called} is decided to be destroyed already")
        self.require_needless(work, number)
        approval = order or approvals.use(work, self.action, {self.called: number})
        self.rows.decide(work.session, number, approval.id, work.now)
        work.record(*self.deciding(number, approval))

    def is_decided(self, work: Work, number: int) -> bool:
        """Tell whether it was decided, done or not."""
        return any(d.number == number for d in self.rows.listed(work.session))

    def carry_out(self, gateway: Gateway) -> list[int]:
        """Destroy what is decided and not done yet; returns the numbers. Idempotent, for every process."""
        with gateway.look() as work:
            waiting = self.rows.listed(work.session, undone=True)
        return [d.number for d in waiting if self._destroy(gateway, d)]

    def _destroy(self, gateway: Gateway, destruction: Destruction) -> bool:
        provider, number = gateway.vault.provider, destruction.number
        provider.refresh()
        if number in self.held(provider.keyring):
            provider.use(self.without(provider.keyring, number))
        with gateway.work() as work:
            if not self.rows.destroyed(work.session, number, work.now):
                return False  # another process wrote the entry
            work.record(*self.done(provider.keyring, destruction))
        return True
