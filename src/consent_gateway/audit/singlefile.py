"""Print the verifier as one Python file that needs Python and `cryptography` alone.

An auditor should not have to install the product that they audit. The file is made at run time from the sources of
the stand-alone modules, in order of dependence: imports of this package are cut out, everything else is verbatim, so
what the auditor reads is what the product runs. Names are shared by one file, hence no two modules may define the
same top-level name; that is checked whenever the file is built.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.resources import files

PACKAGE = "consent_gateway.audit"
_FOLDERS = frozenset({"verifier"})  # packages whose modules are all included: what they export is there by its name
STANDALONE_MODULES = (
    "canonical",
    "commitments",
    "entries",
    "merkle",
    "chains",
    "catalogue",
    "maps",
    "tiles",
    "proofs",
    "notes",
    "checkpoints",
    "receipts",
    "witness_policy",
    "epochs",
    "verifier.findings",
    "verifier.epochs",
    "verifier.trust",
    "verifier.files",
    "verifier.proofs",
    "verifier.published",
    "verifier.strict",
    "verifier.walk",
    "verifier.directory",
    "manifests",
    "bundle_files",
    "erasure_ends",
    "bundles",
    "jws",
    "consent_receipts",
    "command",
)
_HEAD = '''#!/usr/bin/env python3
"""Verify a consent gateway's audit log and receipts: Python 3.11+ and `cryptography`, nothing of the product.

    python verify.py receipt VKEY PROOF ENTRY [WITNESS_VKEY...]
    python verify.py tree VKEY DIR [OLD_NOTE|OLD_DIR...]
    python verify.py prefix VKEY OLD_NOTE NEW_NOTE PROOF
    python verify.py checkpoint VKEY NOTE
    python verify.py epochs VKEY STATEMENT...
    python verify.py map ENTRY LEAVES [OLD_LEAVES...]
    python verify.py bundle VKEY BUNDLE
    python verify.py payload ENTRY NAME SALT_HEX PAYLOAD
    python verify.py consent DOCUMENT JWKS [ENTRY]
    python verify.py membership VKEY PROOF
    python verify.py CHECK --help

VKEY is the log's public key, from a source that is not the log. Witnesses: --witness VKEY, --policy FILE.

Generated from the product's own modules, each under its name below.
"""

from __future__ import annotations
'''
_TAIL = """

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
"""


def build_single_file() -> str:
    """Return the source of the one-file verifier; the same sources give the same text.

    Raises ValueError when two modules define one top-level name or a module needs one that is not included: a bug
    of this package, found by its tests.
    """
    sources = {name: _source(name) for name in STANDALONE_MODULES}
    _check_names(sources)
    rule = "# " + "-" * 76
    parts = (f"\n\n{rule}\n# {name}\n{rule}\n\n{_cut_imports(source)}" for name, source in sources.items())
    return _HEAD + "".join(parts) + _TAIL


def _source(name: str) -> str:
    """Return the source text of one module of this package."""
    return files(PACKAGE).joinpath(f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")


def _cut_imports(source: str) -> str:
    """Return the source without `from __future__` and without imports of this package."""
    lines = source.splitlines(keepends=True)
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.ImportFrom) and _is_cut(statement):
            last = statement.end_lineno or statement.lineno
            lines[statement.lineno - 1 : last] = [""] * (last - statement.lineno + 1)
    return "".join(lines).rstrip("\n") + "\n"


def _is_cut(statement: ast.ImportFrom) -> bool:
    """Tell whether the one file must not hold this import; raises ValueError when it cannot do without."""
    module = statement.module or ""
    if module.startswith(PACKAGE) and module.removeprefix(f"{PACKAGE}.") not in {*STANDALONE_MODULES, *_FOLDERS}:
        raise ValueError(f"the one-file verifier does not include {module}")
    return module == "__future__" or module.startswith(PACKAGE)


def _check_names(sources: dict[str, str]) -> None:
    """Raise ValueError when two modules define the same top-level name."""
    owner: dict[str, str] = {}
    for module, source in sources.items():
        for name in _defined(ast.parse(source)):
            if owner.setdefault(name, module) != module:
                raise ValueError(f"{name} is defined by {owner[name]} and by {module}")


def _defined(tree: ast.Module) -> Iterator[str]:
    """Yield the names that the module's statements bind, imports aside."""
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            yield statement.name
        for node in ast.walk(statement) if isinstance(statement, (ast.Assign, ast.AnnAssign)) else ():
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
