"""docs/joining-*.md: each command exists, those that need nobody else are run, and the first token is obtained as written."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from consent_server.cli import main
from consent_server.sandbox.client_scenarios.table import HEADER
from tests.conftest import RunningSandbox

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("edp", "cap", "fsp")
#: Run by other tests, against a sandbox: what starts one, or asks the trust framework.
NOT_HERE = ("sandbox", "onboard", "doctor", "audit", "catalogue")


def blocks(role: str, language: str) -> list[str]:
    page = (ROOT / f"docs/joining-{role}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def lines(role: str) -> list[list[str]]:
    return [shlex.split(line) for block in blocks(role, "sh") for line in block.splitlines()]


@pytest.mark.parametrize("role", ROLES)
def test_each_command_is_one(role: str) -> None:
    ours = [words[1:] for words in lines(role) if words[0] == "consent-server"]
    assert ours
    for words in ours:
        result = CliRunner().invoke(main, [*words, "--help"])
        assert (result.exit_code, "Usage:" in result.output) == (0, True), words


@pytest.mark.parametrize("role", ROLES)
def test_commands_that_call_nobody_succeed(role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    shutil.copytree(ROOT / "config", "config")
    for words in lines(role):
        if words[0] == "consent-server" and words[1] not in NOT_HERE:
            result = CliRunner().invoke(main, words[1:])
            assert result.exit_code == 0, result.output
        elif words[0] in {"cp", "mkdir", "openssl"}:
            subprocess.run(words, check=True, capture_output=True)
    requests = list((tmp_path / "certificates").glob("*.csr"))
    assert len(requests) == (1 if role == "fsp" else 2)
    for path in requests:
        request = x509.load_pem_x509_csr(path.read_bytes())
        key = load_pem_private_key(path.with_suffix(".key").read_bytes(), None)
        assert request.is_signature_valid
        assert request.public_key() == key.public_key()
        assert request.subject.rfc4514_string().startswith("CN=https://example-")
    if role != "fsp":
        assert (tmp_path / "keys/sealing").exists()


@pytest.mark.xdist_group("sandbox")
@pytest.mark.parametrize("role", ["cap", "fsp"])
def test_the_first_token(
    role: str,
    sandbox: RunningSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / ".sandbox").symlink_to(sandbox.directory)
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(role, "python")
    written: dict[str, Any] = {}
    exec(code, written)
    claims, data = capsys.readouterr().out.splitlines()
    assert sandbox.manifest["clients"][f"{role}2"]["client_id"] in claims
    assert "'type': 'electricity'" in data
    # And the third section: the doors of a sandbox let it meet what its header names.
    url = sandbox.manifest["resources"]["edp" if role == "cap" else "cap"] + (
        "/datasources" if role == "cap" else "/emissions"
    )
    headers = {"Authorization": f"Bearer {written['tokens']['access_token']}"}
    refused = written["client"].http.get(url, headers={**headers, HEADER: "permission_ended"})
    assert refused.json()["error_uri"].endswith("/errors/permission_ended")
    if role == "cap":
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
            written["client"].http.get(url, headers={**headers, HEADER: "cut_off"})
