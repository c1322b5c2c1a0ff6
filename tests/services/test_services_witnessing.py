"""Witnesses cosign over real HTTP: by the protocol, and with every way to misbehave; what they know closes the gate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from test_services_self_check import checked, grow, refused, set_back, size_of

from backups import back_up
from builders import twin
from consent_gateway.audit import verifier
from consent_gateway.audit.checkpoints import open_checkpoint, parse_checkpoint, subtree_message
from consent_gateway.audit.entries import parse_entry
from consent_gateway.audit.kept.port import Trouble
from consent_gateway.audit.kept.witnesses import Refusal
from consent_gateway.audit.notes import (
    COSIGNATURE_ED25519,
    COSIGNATURE_MLDSA44,
    NoteSignature,
    VerifierKey,
    parse_note,
    parse_vkey,
)
from consent_gateway.audit.proofs import verify_consistency
from consent_gateway.audit.witness_policy import parse_policy
from consent_gateway.clock import system_clock
from consent_gateway.db.tables import audit_entries
from consent_gateway.errors import ConflictError, InputError
from consent_gateway.services.log import audit_log
from consent_gateway.services.log.witnessing import Witnessing, witnesses_of
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import FaultKind
from edge import free_port
from peers import Asked, Peer, Told, peer

SECONDS = 0.5
Change = Callable[[Asked, Told], Told]


@dataclass
class FakeWitness:
    """A witness that checks what the protocol asks it to check, unless a test tells it to misbehave."""

    log: VerifierKey
    clock: Callable[[], int]
    name: str = "auditor.example/w1"
    post_quantum: bool = False
    size: int = 0
    root: bytes = b""
    note: bytes = b""
    habit: Change | None = None
    other_root: Told = field(default_factory=lambda: Told(409))  # tlog-witness says the status, and no more
    private: Ed25519PrivateKey | MLDSA44PrivateKey = field(init=False)

    def __post_init__(self) -> None:
        self.private = (
            MLDSA44PrivateKey.generate()
            if self.post_quantum
            else Ed25519PrivateKey.from_private_bytes(sha256(self.name.encode()).digest())
        )

    @property
    def key(self) -> VerifierKey:
        kind = COSIGNATURE_MLDSA44 if self.post_quantum else COSIGNATURE_ED25519
        return VerifierKey(self.name, kind, self.private.public_key().public_bytes_raw())

    def __call__(self, asked: Asked) -> Told:
        told = self.answer(asked)
        return told if self.habit is None else self.habit(asked, told)

    def answer(self, asked: Asked) -> Told:  # noqa: PLR0911 - the protocol's own list of answers
        if asked.method == "GET":
            known = asked.path.endswith(f"/{sha256(self.log.name.encode()).hexdigest()}/checkpoint") and self.note
            return Told(200, body=self.note) if known else Told(404)
        head, _, note = asked.body.partition(b"\n\n")
        old_line, *proof = head.decode().split("\n")
        old = int(old_line.removeprefix("old "))
        if parse_note(note).text.split("\n")[0] != self.log.name:
            return Told(404)
        try:
            checkpoint = open_checkpoint(note, self.log).checkpoint
        except ValueError:
            return Told(403)
        if old > checkpoint.size:
            return Told(400)
        if old != self.size:
            return Told(409, {"content-type": "text/x.tlog.size"}, b"%d\n" % self.size)
        path = [__import__("base64").b64decode(line) for line in proof]
        same = old == checkpoint.size and self.root == checkpoint.root and not path
        if old and old == checkpoint.size and not same and not path:
            return self.other_root
        if old and not same and not verify_consistency(old, checkpoint.size, self.root, checkpoint.root, path):
            return Told(422)
        self.size, self.root, self.note = checkpoint.size, checkpoint.root, note
        return Told(200, body=self.line(note, self.clock()))

    def line(self, note: bytes, at: int) -> bytes:
        text = parse_note(note).text
        if isinstance(self.private, MLDSA44PrivateKey):
            message = subtree_message(self.name, at, parse_checkpoint(text))
        else:
            message = f"cosignature/v1\ntime {at}\n{text}".encode()
        blob = at.to_bytes(8, "big") + self.private.sign(message)
        return NoteSignature(self.name, self.key.key_id, blob).line.encode()


@dataclass
class Scene:
    gateway: Gateway
    witnesses: list[FakeWitness]
    peers: list[Peer]
    policy: str

    def witnessing(self, gateway: Gateway | None = None) -> Witnessing:
        policy = parse_policy(self.policy.encode())
        return Witnessing(gateway or self.gateway, policy, witnesses_of(policy, SECONDS))


@pytest.fixture
def scene(gateway: Gateway) -> Iterator[Scene]:
    """Three witnesses, one of them with ML-DSA-44; two are enough."""
    grow(gateway, 5)
    now = lambda: int(gateway.clock().timestamp())  # noqa: E731
    names = ("auditor.example/w1", "auditor.example/w2", "auditor.example/w3")
    made = [FakeWitness(gateway.signer.key, now, name, post_quantum=name.endswith("3")) for name in names]
    with ExitStack() as stack:
        peers = [stack.enter_context(peer(witness)) for witness in made]
        lines = [f"log {gateway.signer.vkey}"]
        lines += [
            f"witness w{n} {w.key.vkey} {p.url}/prefix" for n, (w, p) in enumerate(zip(made, peers, strict=True), 1)
        ]
        lines += ["group all 2 w1 w2 w3", "quorum all", ""]
        yield Scene(gateway, made, peers, "\n".join(lines))


def head(gateway: Gateway) -> bytes:
    with gateway.store.reading() as session:
        return audit_log.checkpoint(session)


def test_witnesses_cosign_as_the_log_grows(scene: Scene) -> None:
    found = scene.witnessing()
    keys = [witness.key for witness in scene.witnesses]
    for count in (0, 1, 300, 7):
        if count:
            grow(scene.gateway, count)
        assert found.round()
        opened = open_checkpoint(head(scene.gateway), scene.gateway.signer.key, keys)
        assert all(opened.signed_by(key) for key in keys)
        assert {w.size for w in scene.witnesses} == {size_of(scene.gateway)}
    assert [state.trouble for state in found.states.values()] == [None] * 3
    assert all(asked.path == "/prefix/add-checkpoint" for p in scene.peers for asked in p.asked)


def test_receipts_come_under_a_cosigned_checkpoint(scene: Scene) -> None:
    found = scene.witnessing()
    found.round()
    with scene.gateway.store.reading() as session:
        entry = bytes(session.execute(audit_entries.select()).first().entry)
    grow(scene.gateway, 300)
    with scene.gateway.store.reading() as session:
        proof = audit_log.receipt(session, parse_entry(entry).uid)
    vkeys = [witness.key.vkey for witness in scene.witnesses]
    assert verifier.verify_receipt(scene.gateway.signer.vkey, proof, entry, witnesses=vkeys).ok
    assert b"cosig" not in head(scene.gateway)
    assert head(scene.gateway).count("—".encode()) == 1, "the newest has none yet"


def test_a_replica_without_memory_learns_the_size_from_the_409(scene: Scene) -> None:
    scene.witnessing().round()
    for witness in scene.witnesses:
        witness.note = b""
    grow(scene.gateway, 9)
    found = scene.witnessing()
    with scene.gateway.store.transaction() as session:
        session.exec_driver_sql("DELETE FROM log_witnesses")
    assert found.round()
    assert {w.size for w in scene.witnesses} == {size_of(scene.gateway)}


def unsigned(_: Asked, told: Told) -> Told:
    return Told(200, body=b"")


def other_key(asked: Asked, told: Told) -> Told:
    stranger = FakeWitness(parse_vkey(POLICY_LOG[0]), lambda: 0, "stranger.example/w")
    return Told(200, body=stranger.line(asked.body.partition(b"\n\n")[2], 1))


POLICY_LOG: list[str] = []
HABITS: dict[str, tuple[Change, str]] = {
    "slow": (lambda _a, t: Told(t.status, body=t.body, drip=True), "timeout"),
    "hang": (lambda _a, _t: Told(hang=True), "timeout"),
    "cut": (lambda _a, _t: Told(cut=True), "unreachable"),
    "wrong signature": (lambda _a, t: Told(200, body=t.body[:-12] + b"AAAAAAAAAA=\n"), "unreadable"),
    "no signature": (unsigned, "unreadable"),
    "wrong key": (other_key, "unreadable"),
    "garbage": (lambda _a, _t: Told(200, body=b"\xff\x00 not a line"), "unreadable"),
    "huge": (lambda _a, _t: Told(200, body=b"x" * 100_000), "too_large"),
    "redirect": (lambda _a, _t: Told(307, {"location": "http://127.0.0.1:1/"}), "redirected"),
    "teapot": (lambda _a, _t: Told(418), "refused"),
    "down": (lambda _a, _t: Told(503), "refused"),
    "unknown origin": (lambda _a, _t: Told(404), "unknown_origin"),
    "not trusted": (lambda _a, _t: Told(403), "not_trusted"),
    "malformed": (lambda _a, _t: Told(400), "malformed"),
    "size without its type": (lambda _a, _t: Told(409, {"content-type": "text/plain"}, b"3\n"), "unreadable"),
    "no size": (lambda _a, _t: Told(409), "unreadable"),
    "size that is none": (lambda _a, _t: Told(409, {"content-type": "text/x.tlog.size"}, b"-3\n"), "unreadable"),
}


@pytest.mark.parametrize("habit", HABITS)
def test_one_witness_that_misbehaves_costs_a_bounded_wait_and_nothing_else(scene: Scene, habit: str) -> None:
    POLICY_LOG[:] = [scene.gateway.signer.vkey]
    scene.witnesses[0].habit, trouble = HABITS[habit]
    found = scene.witnessing()
    begun = time.monotonic()
    assert found.round(), "two others are enough"
    assert time.monotonic() - begun < 6
    assert found.states["w1"].trouble == trouble
    assert scene.gateway.gate.fault is None
    opened = open_checkpoint(head(scene.gateway), scene.gateway.signer.key, [w.key for w in scene.witnesses])
    assert [opened.signed_by(w.key) for w in scene.witnesses] == [False, True, True]


@pytest.mark.parametrize("shift", [-90_000, 4_000])
def test_a_cosignature_of_another_time_does_not_count(scene: Scene, shift: int) -> None:
    now = int(scene.gateway.clock().timestamp())
    scene.witnesses[0].clock = lambda: now + shift
    found = scene.witnessing()
    assert found.round()
    assert found.states["w1"].trouble == "clock"


def test_without_a_quorum_nothing_is_called_witnessed(scene: Scene) -> None:
    for witness in scene.witnesses[:2]:
        witness.habit = lambda _a, _t: Told(503)
    assert not scene.witnessing().round()
    assert head(scene.gateway).count("—".encode()) == 1


def set_back_scene(scene: Scene, tmp_path: Path) -> tuple[Gateway, Witnessing]:
    back_up(scene.gateway.store, tmp_path / "backup")
    grow(scene.gateway, 7)
    assert scene.witnessing().round()
    set_back(scene.gateway.store, tmp_path / "backup")
    started = twin(scene.gateway)
    found = scene.witnessing(started)
    assert not found.round()
    return started, found


def test_a_witness_that_knows_more_than_the_store_closes_the_gate(scene: Scene, tmp_path: Path) -> None:
    started, found = set_back_scene(scene, tmp_path)
    assert refused(started) is FaultKind.ROLLED_BACK
    assert "signed" in str(started.gate.fault)
    assert {kept.size for kept in started.gate.evidence.values()} == {size_of(started) + 7}
    assert found.states["w1"].trouble == "rolled_back"


OTHER_ROOT = {
    "as tlog-witness has it": Told(409),
    "with a text": Told(409, {"content-type": "text/plain"}, b"conflict\n"),
    "with the size that we know": Told(409, {"content-type": "text/x.tlog.size"}, b"20\n"),
    "as for any wrong proof": Told(422),
}


@pytest.mark.parametrize("told", OTHER_ROOT)
def test_a_witness_that_knows_another_history_is_a_fork(scene: Scene, tmp_path: Path, told: str) -> None:
    for witness in scene.witnesses:
        witness.other_root = OTHER_ROOT[told]
    back_up(scene.gateway.store, tmp_path / "backup")
    grow(scene.gateway, 7)
    scene.witnessing().round()
    set_back(scene.gateway.store, tmp_path / "backup")
    grow(started := twin(scene.gateway), 7)
    scene.witnessing(started).round()
    assert refused(started) is FaultKind.FORKED
    grown = twin(scene.gateway)
    grow(grown, 30)
    scene.witnessing(grown).round()
    assert refused(grown) is FaultKind.FORKED


def test_a_larger_size_counts_only_against_a_head_that_was_read_afterwards(scene: Scene) -> None:
    """Another replica publishes between our look at the head and the witness's answer."""
    other, grown = scene.witnesses[0], list[int]()

    def late(asked: Asked, told: Told) -> Told:
        if asked.method == "POST" and not grown:
            grown.append(grow(scene.gateway, 3))
            return Told(409, {"content-type": "text/x.tlog.size"}, b"%d\n" % grown[0])
        return told

    other.habit = late
    found = scene.witnessing()
    found.round()
    assert found.states["w1"].trouble == "busy"
    assert scene.gateway.gate.fault is None


def test_an_epoch_names_what_only_a_witness_remembers(scene: Scene, tmp_path: Path) -> None:
    from test_services_log_epochs import officer, opened  # noqa: PLC0415

    from consent_gateway.services.work import principals  # noqa: PLC0415

    with scene.gateway.work() as work:
        for name in ("first", "second"):
            principals.issue(work, name, "self", frozenset({"approve"}))
    grow(scene.gateway)
    started, _ = set_back_scene(scene, tmp_path)
    check = checked(started)
    survived = size_of(started)
    row = opened(started, check.copies)
    assert (row.lost_from, row.lost_until) == (survived, survived + 7)
    assert started.gate.fault is None
    assert officer(started, "first")


def test_an_epoch_without_evidence_of_the_loss_is_refused(scene: Scene, tmp_path: Path) -> None:
    from test_services_log_epochs import opened  # noqa: PLC0415

    from consent_gateway.services.work import principals  # noqa: PLC0415

    with scene.gateway.work() as work:
        for name in ("first", "second"):
            principals.issue(work, name, "self", frozenset({"approve"}))
    grow(scene.gateway)
    for witness in scene.witnesses:
        witness.habit = lambda asked, told: Told(404) if asked.method == "GET" else told
    started, _ = set_back_scene(scene, tmp_path)
    with pytest.raises(ConflictError, match="cannot be named"):
        opened(started, checked(started).copies)


def test_operators_read_what_to_do_about_every_trouble() -> None:
    told = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    table = told.partition("### Trouble with a copy or a witness")[2].partition("\n### ")[0]
    assert [word for word in (*Trouble, *Refusal, "busy", "lost", "not_asked") if f"`{word}`" not in table] == []


def test_only_safe_addresses_of_a_policy_are_called(gateway: Gateway) -> None:
    key = FakeWitness(gateway.signer.key, lambda: 0).key
    assert witnesses_of(parse_policy(f"witness w {key.vkey}\nquorum w\n".encode()), 1.0) == ()
    with pytest.raises(InputError):
        witnesses_of(parse_policy(f"witness w {key.vkey} http://evil.example/\nquorum w\n".encode()), 1.0)


def test_a_real_witness_cosigns(gateway: Gateway, tmp_path: Path) -> None:
    """`aics-witness` from the package index; it needs Python 3.12, so it is not in the development set."""
    tool = os.environ.get("CONSENT_GATEWAY_TEST_WITNESS") or shutil.which("aics-witness")
    if tool is None:
        pytest.skip("AICS-WITNESS IS MISSING: install it for Python 3.12 and set CONSENT_GATEWAY_TEST_WITNESS to it")
    gateway.clock = system_clock
    grow(gateway, 5)
    config, port = tmp_path / "witness.json", free_port()
    run = [tool, "{}", "--config", str(config)]
    act = lambda verb, *more: subprocess.run(  # noqa: E731
        [part.format(verb) for part in run] + list(more), check=True, capture_output=True, text=True
    )
    vkey = act("init", "--name", "witness.example/w", "--listen", f"127.0.0.1:{port}").stdout.strip().split()[-1]
    act("add-log", "--origin", gateway.signer.key.name, "--vkey", gateway.signer.vkey)
    assert json.loads(config.read_text())["logs"]
    process = subprocess.Popen(
        [tool, "serve", "--config", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        policy = parse_policy(f"witness w {vkey} http://127.0.0.1:{port}\nquorum w\n".encode())
        found = Witnessing(gateway, policy, witnesses_of(policy, 5.0))
        deadline = time.monotonic() + 20
        while not found.round():
            assert time.monotonic() < deadline, found.states
            time.sleep(0.1)
        for _ in range(3):
            grow(gateway, 30)
            assert found.round(), found.states
        assert open_checkpoint(head(gateway), gateway.signer.key, [parse_vkey(vkey)]).signed_by(parse_vkey(vkey))
        back_up(gateway.store, tmp_path / "backup")
        grow(gateway, 5)
        assert found.round()
        set_back(gateway.store, tmp_path / "backup")
        started = twin(gateway)
        assert not Witnessing(started, policy, witnesses_of(policy, 5.0)).round()
        assert refused(started) is FaultKind.ROLLED_BACK
    finally:
        process.terminate()
        process.wait(20)
