"""What the composition root seals the keyring with, and what it refuses to take for it."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from consent_gateway.assembly import key_service
from consent_gateway.errors import KeyringError
from consent_gateway.settings import Settings
from consent_gateway.vault.protectors import PassphraseProtector

WORDS = b"correct horse battery"


def settings(path: Path) -> Settings:
    return Settings(store_directory=path.parent, keyring_passphrase_file=path)


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_bytes(WORDS + b"\n")
    path.chmod(0o600)
    return path


def test_a_passphrase_is_one_line_of_a_private_file(passphrase: Path) -> None:
    assert key_service(settings(passphrase)) == PassphraseProtector(WORDS)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644])
def test_a_passphrase_that_others_may_touch_is_refused(passphrase: Path, mode: int) -> None:
    passphrase.chmod(mode)
    with pytest.raises(KeyringError, match="exposed"):
        key_service(settings(passphrase))


@pytest.mark.parametrize("content", [b"two lines of\nwords here", b"", b"w" * 4097], ids=["lines", "empty", "long"])
def test_a_passphrase_that_is_not_one_line_is_refused(passphrase: Path, content: bytes) -> None:
    passphrase.write_bytes(content)
    with pytest.raises(KeyringError, match="one line"):
        key_service(settings(passphrase))


def test_a_passphrase_from_no_regular_file_is_refused() -> None:
    with pytest.raises(KeyringError):
        key_service(settings(Path("/dev/zero")))


def test_no_process_that_holds_keys_leaves_a_core_file(tmp_path: Path) -> None:
    """A core file holds every root in the clear (THREATS 11)."""
    if not resource.getrlimit(resource.RLIMIT_CORE)[1]:
        pytest.skip("core files are off here for everybody")
    code = (
        "import resource, sys; from pathlib import Path;"
        "from consent_gateway.assembly import build_gateway; from consent_gateway.settings import Settings;"
        "from consent_gateway.setup import create_store;"
        "create_store(Settings(store_directory=Path(sys.argv[1])))[0].store.dispose();"
        "print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "store"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(0, 0)"
