"""The sequencer's arithmetic: pending entries become leaves, tiles and a signed head.

One writer at a time takes pending entries in order, gives them the next indexes and extends the tree; what changed
is an `Integration`, which a store writes in one transaction:

1. lock    the store's transaction holds the writer's lock *before* the head is read (two writers fork a log);
2. read    the head and the oldest pending entries;
3. grow    `integrate`: indexes without gaps, places in chains, leaf hashes, changed tiles, new head (pure);
4. sign    the checkpoint of the new head;
5. save    entries, tiles, head and checkpoint, and remove what was pending: all of it or nothing;
6. publish only after the commit has returned. A checkpoint that was shown and then lost is a fork, so a writer whose
   commit ended in doubt reads the head again before it signs anything else.

Whether the log still extends what was kept elsewhere is `epochs.judge`'s to say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from consent_gateway.audit.chains import CHAIN_REF_BYTES, ChainHead, extend
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.entries import MAX_ENTRY_BYTES
from consent_gateway.audit.merkle import HASH_BYTES, leaf_hash
from consent_gateway.audit.proofs import ReadTile, consistency_proof, inclusion_proof
from consent_gateway.audit.receipts import Receipt
from consent_gateway.audit.tiles import EMPTY_EDGE, Edge, Tile, grow, load_edge

EntryRow = tuple[int, bytes, bytes]
"""Index, entry bytes, leaf hash: what the store keeps of one entry (a tuple: there are many of them)."""

Pending = tuple[bytes, bytes]
"""An entry that waits, and the chains that it belongs to: none, one or two of `chains.chain_ref`."""

NO_CHAIN = b""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log stands: `size` entries under `root`, and the edge to go on from."""

    root: bytes
    edge: Edge

    @property
    def size(self) -> int:
        """How many entries the log has."""
        return self.edge.size


EMPTY_HEAD = Head(EMPTY_EDGE.range.root, EMPTY_EDGE)


@dataclass(frozen=True, slots=True)
class Integration:
    """What one batch changed: rows to insert, tiles to insert or replace by (level, index), and the heads after it.

    `chains` are the heads of those chains that grew.
    """

    rows: tuple[EntryRow, ...]
    tiles: tuple[Tile, ...]
    head: Head
    chains: Mapping[bytes, ChainHead]


@dataclass(frozen=True, slots=True)
class Published:
    """A batch that is durable: its entries and the signed checkpoint that may now leave the process."""

    rows: tuple[EntryRow, ...]
    checkpoint: bytes


class LogStore(Protocol):
    """One transaction of the store, which already holds the writer's lock."""

    def head(self) -> Head:
        """Return the last saved head, `EMPTY_HEAD` for a new log."""
        ...

    def pending(self, limit: int, /) -> Sequence[Pending]:
        """Return at most `limit` pending entries, oldest first, and remember them for `save`."""
        ...

    def chains(self, keys: Collection[bytes], /) -> Mapping[bytes, ChainHead]:
        """Return the heads of those of these chains that there are, as they were saved last."""
        ...

    def save(self, integration: Integration, checkpoint: bytes, /) -> None:
        """Store all of it, remove the entries that `pending` gave, commit; durable when it returns, else raise."""
        ...


def load_head(size: int, root: bytes, partials: Mapping[int, bytes]) -> Head:
    """Return the head from stored parts: `partials` is the partial tile of each level that has one.

    Raises ValueError when the tiles do not fit the size or do not hash to `root`: the store is damaged.
    """
    head = Head(root, load_edge(size, partials))
    if head.edge.range.root != root:
        raise ValueError("the stored tiles do not hash to the stored root")
    return head


def integrate(head: Head, pending: Sequence[Pending], chains: Mapping[bytes, ChainHead]) -> Integration:
    """Return what appending these entries (canonical bytes, in order) changes; pure.

    `chains` are the heads of the chains that the entries belong to, no others, without those that are new. Raises
    ValueError for an entry that is empty or above 65,535 bytes, which no bundle could hold, or that keeps no room for
    its place.
    """
    if any(not 0 < len(entry) <= MAX_ENTRY_BYTES for entry, _ in pending):
        raise ValueError(f"an entry has 1 to {MAX_ENTRY_BYTES} bytes")
    heads = dict(chains)
    done = [extend(entry, refs, heads) if refs else (entry, leaf_hash(entry)) for entry, refs in pending]
    growth = grow(head.edge, [leaf for _, leaf in done])
    rows = tuple((index, entry, leaf) for index, (entry, leaf) in enumerate(done, head.size))
    return Integration(rows, growth.tiles, Head(growth.edge.range.root, growth.edge), heads)


def chain_keys_of(refs: Sequence[bytes]) -> list[bytes]:
    """Return the keys of the chains that entries belong to, given the `chains` of each."""
    return [ref[at : at + HASH_BYTES] for ref in refs for at in range(0, len(ref), CHAIN_REF_BYTES)]


def sequence(store: LogStore, signer: Signer | Callable[[], Signer], limit: int = 1000) -> Published | None:
    """Integrate, sign and save one batch; return it once it is durable, None when nothing was pending.

    `signer` may be a function that is asked once the writer's lock is held: which key signs is known only then.
    Whatever `store` raises passes through, and then nothing of the batch may be shown to anybody.
    """
    head = store.head()
    pending = store.pending(limit)
    if not pending:
        return None
    done = integrate(head, pending, store.chains(set(chain_keys_of([refs for _, refs in pending]))))
    checkpoint = (signer if isinstance(signer, Signer) else signer()).sign_checkpoint(done.head.size, done.head.root)
    store.save(done, checkpoint)
    return Published(done.rows, checkpoint)


def make_receipt(index: int, size: int, checkpoint: bytes, read_tile: ReadTile) -> bytes:
    """Return the `.tlog-proof` file of entry `index` under the signed `checkpoint` of `size` entries."""
    return Receipt(index, inclusion_proof(index, size, read_tile), checkpoint).to_bytes()


def make_prefix_proof(old: int, new: int, read_tile: ReadTile) -> tuple[bytes, ...]:
    """Return the consistency proof to send to a witness; empty from size 0, where there is nothing to prove."""
    return consistency_proof(old, new, read_tile) if old else ()
