"""A planted bug in each check turns a test red: the line that is spoilt, and the test that must then fail.

The spoilt source is compiled again and its functions take the place of the right ones, wherever they were imported to,
for as long as the test runs.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import test_audit_bundles as bundles
import test_audit_checkpoints as checkpoints
import test_audit_hostile_files as hostile
import test_audit_receipts as receipts
import test_audit_singlefile as single
import test_audit_strict as strict
import test_audit_tiles as tiles
import test_audit_vectors as vectors
import test_audit_verifier as whole
import test_audit_verifier_epochs as epochs
import test_audit_witness_policy as policies

Test = Callable[..., None]
AUDIT = "consent_gateway.audit."
OWN = vectors.test_our_own_vectors_agree_and_name_what_is_refused_although_it_may_be_accepted

BUGS: list[tuple[str, str, str, str, Test, dict[str, Any]]] = [
    # what is wrong, module, the right line, the wrong one, the test that must fail, its arguments
    ("log signatures not checked", "checkpoints", "return ed25519_holds(key.public_key, blob", "return True or (key.public_key, blob", checkpoints.test_every_changed_bit_of_a_checkpoint_is_found, {}),
    ("cosignatures not checked", "checkpoints", "return ed25519_holds(key.public_key, signature, f", "return True or (key.public_key, signature, f", OWN, {}),
    ("Ed25519 holds always", "checkpoints", "    except InvalidSignature:\n        return False\n    return True\n", "    except InvalidSignature:\n        return True\n    return True\n", vectors.test_the_log_checks_signatures_as_wycheproof_wants, {}),
    ("ML-DSA-44 not checked", "checkpoints", "return False, time", "return True, time", checkpoints.test_post_quantum_cosignature, {}),
    ("failing signatures ignored", "checkpoints", "if not holds:", "if False:", checkpoints.test_unknown_signatures_are_ignored_and_known_ones_must_hold, {}),
    ("duplicate signature lines accepted", "checkpoints", "if len(set(claimed)) != len(claimed):", "if False:", checkpoints.test_a_line_that_stands_twice_is_no_second_signature, {}),
    ("a note without any known key accepted", "checkpoints", "if not verified:", "if False:", checkpoints.test_a_note_needs_a_known_key, {}),
    ("a witness's word for the log's", "checkpoints", "if not opened.signed_by(log):", "if False:", checkpoints.test_a_witness_alone_does_not_make_a_checkpoint, {}),
    ("the origin ignored", "checkpoints", "if opened.checkpoint.origin != log.name:", "if False:", checkpoints.test_the_origin_is_the_name_of_the_key, {}),
    ("times without an end", "checkpoints", "if time >= 1 << 63:", "if False:", checkpoints.test_cosignatures_end_where_their_time_does, {"post_quantum": False}),
    ("any key as a witness", "checkpoints", "if key.algorithm not in {COSIGNATURE_ED25519, COSIGNATURE_MLDSA44}:", "if False:", checkpoints.test_witness_keys_are_of_the_type_of_a_witness, {}),
    ("roots of any length", "checkpoints", "if len(checkpoint.root) != HASH_BYTES:", "if False:", OWN, {}),
    ("size 0 with any root", "checkpoints", "if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:", "if False:", OWN, {}),
    ("numbers in any spelling", "notes", "if str(number) != text or number >= 2**63:", "if False:", OWN, {}),
    ("base64 in any spelling", "notes", "if to_base64(data) != text:", "if False:", OWN, {}),
    ("key ids not compared", "notes", "if key.key_id.hex() != key_hash:", "if False:", checkpoints.test_every_changed_bit_of_a_vkey_is_found, {}),
    ("control characters let through", "notes", "if any(byte < _FIRST_PRINTABLE for byte in data", "if any(byte < 0 for byte in data", checkpoints.test_malformed_notes_are_refused, {"name": "control byte"}),
    ("any number of signatures", "notes", "if len(signatures) > MAX_SIGNATURES:", "if False:", OWN, {}),
    ("the index not bounded by the size", "proofs", "if not 0 <= index < size or not _all_hashes", "if not _all_hashes", vectors.test_published_vectors_agree, {"name": "transparency-dev-merkle.json"}),
    ("paths of any length", "receipts", "if len(lines) > MAX_PATH:", "if False:", receipts.test_malformed_receipts_are_refused, {"data": b"c2sp.org/tlog-proof@v1\nindex 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\nx"}),
    ("bundles cut short accepted", "tiles", "    if at != end:", "    if False:", tiles.test_bundle_bytes_and_limits, {}),
    ("the pinned log need not be listed", "verifier.trust", "if listed and logs[0] not in listed:", "if False:", policies.test_what_is_pinned_must_fit, {}),
    ("the log may be its own witness", "verifier.trust", "if {log.public_key for log in trust.logs}.intersection", "if set().intersection", policies.test_what_is_pinned_must_fit, {}),
    ("missing witnesses ignored", "verifier.trust", "        if lacks:", "        if False:", policies.test_a_quorum_decides, {}),
    ("one of a group is enough", "witness_policy", "if held >= group.threshold:", "if held:", policies.test_the_example_of_the_specification, {}),
    ("one key under two names", "witness_policy", "if key.public_key in self._keys:", "if False:", policies.test_what_is_no_policy_is_refused_with_its_line, {"name": "one key, two names"}),
    ("members of two groups", "witness_policy", "if name in self._members:", "if False:", policies.test_what_is_no_policy_is_refused_with_its_line, {"name": "a member of two groups"}),
    ("links followed", "verifier.files", "if not stat.S_ISREG((found := path.lstat()).st_mode):", "if not (found := path.lstat()):", hostile.test_a_trick_is_refused, {"trick": "a link to the same bytes", "file": "tile/0/001"}),
    ("linked folders followed", "verifier.files", "if not stat.S_ISDIR(folder.lstat().st_mode):", "if False:", hostile.test_a_trick_is_refused, {"trick": "a linked folder", "file": "tile/0/001"}),
    ("files of any size read", "verifier.files", "if found.st_size > limit:", "if False:", hostile.test_a_trick_is_refused, {"trick": "terabytes", "file": "tile/0/001"}),
    ("the width of tiles ignored", "verifier.walk", "fits = len(stored) == (TILE_BYTES if full else len(tile.data))", "fits = True", hostile.test_the_width_of_a_file_is_the_one_of_its_name, {}),
    ("the number of entries ignored", "verifier.walk", "if len(entries) != wanted:", "if False:", hostile.test_a_bundle_holds_exactly_its_entries, {}),
    ("tiles not compared", "verifier.walk", "if fits and stored.startswith(tile.data):", "if fits:", whole.test_an_attack_is_found_and_named, {"name": "a leaf hash changed"}),
    ("tiles above not compared", "verifier.walk", "_check_tile(self._files, Tile(tile.level + 1, tile.index, tile.data))", "pass", whole.test_an_attack_is_found_and_named, {"name": "a parent hash changed"}),
    ("any root accepted", "verifier.directory", "if root != head.root:", "if False:", whole.test_a_rewritten_suffix_needs_the_key, {}),
    ("the earlier checkpoint ignored", "verifier.directory", "if len(holding) < len(kept):", "if False:", whole.test_a_history_rewritten_with_the_key_is_caught_by_a_kept_checkpoint, {}),
    ("a shorter log accepted", "verifier.directory", "if known.size > head.size:", "if False:", whole.test_yesterdays_database_is_caught_by_a_kept_checkpoint, {}),
    ("another log's checkpoint accepted", "verifier.directory", "if known.origin not in origins:", "if False:", policies.test_any_listed_log_may_speak_for_itself_alone, {}),
    ("doubled uids accepted", "verifier.strict", "        if uid in seen:", "        if False:", strict.test_a_doubled_uid_is_found_at_its_second_place, {}),
    ("sums of maps not compared", "maps", "if self._sums[size] != entries:", "if False:", epochs.test_an_entry_that_is_left_out_of_its_chain_is_missed_in_the_sum, {}),
    ("any map for the published one", "maps", "if told != (whole.hash.hex(), whole.entries, whole.chains):", "if False:", epochs.test_a_file_of_a_map_is_the_one_that_was_published, {}),
    ("losses that nobody named", "epochs", "return lost.start < kept.size < lost.until or (", "return True or (", epochs.test_what_no_statement_gives_up_is_still_missed, {}),
    ("any statement recorded", "verifier.epochs", "    if not holds:", "    if False:", epochs.test_the_first_entry_of_an_epoch_records_its_statement, {"first": b"{}"}),
    ("an epoch from other entries", "verifier.epochs", "if roots[opened.surviving] != opened.root:", "if False:", epochs.test_a_changed_beginning_is_no_loss, {}),
    ("an epoch gone without a word", "verifier.epochs", "if later.lost is None or not later.lost.start <= first < later.lost.until:", "if False:", epochs.test_an_epoch_that_is_gone_without_a_word_is_missed, {"lost": None}),
    ("chains that go on after their end", "verifier.published", "if earlier and held.get(key, 0) != earlier[-1][1]:", "if False:", epochs.test_a_chain_that_goes_on_after_its_erasure_is_found_by_who_has_its_maps, {}),
    ("two maps of one beginning", "maps", 'fields.get("root") != self._root', "False", epochs.test_one_beginning_of_the_log_has_one_map, {}),
    ("what a kind says not checked", "verifier.strict", "if found := problems(read):", "if found := ():", strict.test_another_form_is_found_and_named, {"bad": strict.about("hold.ended"), "message": "about whom"}),
    ("the old epoch served", "verifier.directory", "if trust.epochs and head.origin != trust.epochs[-1].key.name:", "if False:", epochs.test_a_log_from_before_its_epoch_is_set_back, {}),
    ("inclusion not checked", "verifier.proofs", "if not verify_inclusion(", "if not (", receipts.test_every_changed_bit_is_found, {}),
    ("consistency not checked", "verifier.proofs", "if not verify_consistency(", "if not (", whole.test_what_is_no_prefix_is_refused, {}),
    ("openings not checked", "verifier.proofs", "if not verify_opening(", "if not (", whole.test_a_person_proves_what_was_recorded, {}),
    ("salts of any length", "commitments", "if len(salt) != KEY_BYTES:", "if False:", whole.test_a_salt_has_one_length, {}),
    ("differences of vectors lost", "vectors.cases", "wrong = [case for case in cases if not case.agrees]", "wrong = []", vectors.test_a_wrong_answer_is_reported, {"name": "a proof"}),
    ("version 1 with members of version 2", "bundle_files", 'case "consent-gateway/bundle@v1", []:', 'case "consent-gateway/bundle@v1", _:', bundles.test_what_has_another_form_is_refused, {"data": bundles.spelt(("format",), "consent-gateway/bundle@v1")}),
    ("audiences that are not the person's", "bundles", "if item not in named:", "if False:", bundles.test_what_is_changed_of_audiences_is_found, {"change": "another's proof beside"}),
    ("an audience twice", "bundles", "if item <= before:", "if False:", bundles.test_what_is_changed_of_audiences_is_found, {"change": "one twice"}),
    ("audiences left out", "bundles", "if missing := to_show - shown:", "if missing := set():", bundles.test_what_is_changed_of_audiences_is_found, {"change": "one left out"}),
    ("audiences of another log", "bundles", "index, entry = part.logged.index, _open_entry(part.logged, head)", "index, entry = part.logged.index, parse_entry(part.logged.entry)", bundles.test_what_is_changed_of_audiences_is_found, {"change": "an entry's path"}),
    ("any entry for an audience", "bundles", "if entry.kind is not EntryKind.AUDIENCE_RESOLVED:", "if False:", bundles.test_any_kind_but_one_is_no_audience, {}),
    ("every disclosure to be shown again", "bundles", "(disclosures := [*_disclosures(chain)])", "(disclosures := [*_disclosures(chain)][:1])", bundles.test_audiences_are_shown_and_no_other_is_ruled_out, {}),
    ("former chains shown again", "bundles", "return not any(told.role == OTHER for told in chain.entries)", "return bool(chain.entries)", bundles.test_what_a_former_chain_was_handed_out_with_need_not_be_shown_again, {}),
    ("leaves not in the manifest", "manifests", "if not verify_inclusion(shown.index, size, shown.hash, shown.path, root):", "if False:", bundles.test_what_is_changed_of_audiences_is_found, {"change": "a leaf's path"}),
    ("leaves of somebody else", "manifests", "[found for _, found in places] == [leaf] if member", "bool(places) if member", bundles.test_what_is_changed_of_audiences_is_found, {"change": "out called in"}),
    ("manifests in another order", "manifests", 'if fields.get("manifest") != MANIFEST_VERSION:', "if False:", bundles.test_an_audience_without_a_manifest_shows_nobody, {}),
    ("disclosures in any spelling", "bundle_files", "if disclosed(audiences) == payload:", "if True:", bundles.test_a_disclosure_that_names_nothing_readable_is_found, {"payload": b'{"audiences": {}}'}),
    ("erasures that are not in the log", "erasure_ends", "if not verify_inclusion(read.index,", "if not (read.index,", bundles.test_an_erasure_that_is_none_of_this_person_is_refused, {"wrong": "another's receipt"}),
    ("any entry for an erasure", "erasure_ends", "if entry.kind is not EntryKind.SUBJECT_ERASED:", "if False:", bundles.test_an_erasure_that_is_none_of_this_person_is_refused, {"wrong": "another entry"}),
    ("erasures of somebody else", "erasure_ends", "if lengths.keys().isdisjoint(held):", "if False:", bundles.test_an_erasure_that_is_none_of_this_person_is_refused, {"wrong": "somebody else's"}),
    ("erasures that name less", "erasure_ends", "if any(lengths.get(key, count) < count", "if any(lengths.get(key, count) < 0", bundles.test_an_erasure_that_is_none_of_this_person_is_refused, {"wrong": "one that names less"}),
    ("bundles in any spelling", "bundle_files", "if canonical_json(read) != data:", "if False:", bundles.test_a_bundle_has_one_spelling, {"spelling": "a member twice"}),
    ("the exit status always good", "command", "return _HOLDS if finding.ok else _FAILS", "return _HOLDS", single.test_the_command_answers_with_its_status, {}),
]  # fmt: skip


def _functions(owner: ModuleType | type) -> Iterator[tuple[str, FunctionType]]:
    """Yield the functions that are written in a module, those of its classes too."""
    for name, found in vars(owner).items():
        inner = found.__func__ if isinstance(found, (classmethod, staticmethod)) else found
        inner = inner.fget if isinstance(inner, property) else inner
        home = owner.__name__ if isinstance(owner, ModuleType) else owner.__module__
        if isinstance(inner, FunctionType) and inner.__module__ == home:
            yield name, inner
        elif isinstance(inner, type) and inner.__module__ == home and isinstance(owner, ModuleType):
            yield from ((f"{name}.{part}", function) for part, function in _functions(inner))


@contextmanager
def planted(module: ModuleType, right: str, wrong: str) -> Iterator[None]:
    """Let the functions of `module` be as if `right`, which stands there once, were `wrong`."""
    source = inspect.getsource(module)
    assert source.count(right) == 1, f"the line to spoil is not there once: {right}"
    spoilt = ModuleType(module.__name__)
    vars(spoilt).update({"__name__": module.__name__, "__file__": module.__file__})
    exec(compile(source.replace(right, wrong), str(module.__file__), "exec"), vars(spoilt))  # noqa: S102
    others = dict(_functions(spoilt))
    kept = [(function, function.__code__) for _, function in _functions(module)]
    changed = 0
    try:
        for name, function in _functions(module):
            if function.__code__ != others[name].__code__:
                changed += 1
            function.__code__ = others[name].__code__
        assert changed, "the planted bug changes no function"
        yield
    finally:
        for function, code in kept:
            function.__code__ = code


@pytest.mark.parametrize("what", [bug[0] for bug in BUGS])
def test_a_planted_bug_turns_a_test_red(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    _, module, right, wrong, test, given = next(bug for bug in BUGS if bug[0] == what)
    wanted = inspect.signature(test).parameters
    fixtures = {"tmp_path": tmp_path / "spoilt", "capsys": capsys}
    arguments = given | {name: fixture for name, fixture in fixtures.items() if name in wanted}
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "honest").mkdir()
    seen = False
    with planted(importlib.import_module(AUDIT + module), right, wrong):
        try:
            test(**arguments)
        except pytest.skip.Exception:
            raise
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - a test that crashes is red as well
            seen = True
    assert seen, f"{test.__name__} did not notice: {what}"
    capsys.readouterr()
    test(**arguments | ({"tmp_path": tmp_path / "honest"} if "tmp_path" in wanted else {}))  # and it is green again
