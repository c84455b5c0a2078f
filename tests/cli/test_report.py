"""`report verify`: what a bank reads of a file that holds, and of one that does not."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from consent_server import clock
from tests.documents import sample
from tests.scheme.signing import NOW, signing_authority


@pytest.fixture
def run(command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(clock, "now", lambda: NOW + 60)

    def verify(file: bytes, *more: object) -> Result:
        path, root = tmp_path / "report.pdf", tmp_path / "root.pem"
        path.write_bytes(file)
        root.write_bytes(signing_authority().root_pem)
        return command("report", "verify", path, "--root", root, "--trust-framework", sample.FRAMEWORK, *more)

    return verify


def test_the_published_sample_holds(command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """If it does not: the words of a report have changed, and `python -m tests.documents.sample` makes it anew."""
    monkeypatch.chdir(sample.PUBLISHED_FILE.parents[2])
    page = Path("docs/report.md").read_text()
    (asked,) = re.findall(r"^consent-server (report verify --root docs/sample[^`]*)", page, re.MULTILINE)
    held = command(*shlex.split(asked.replace("\\\n", " ")))
    assert held.exit_code == 0, held.output
    assert "gas: 215,341.30 kg CO2e in 11 months" in held.output


def test_a_file_that_holds_and_one_that_does_not(run: Callable[..., Result]) -> None:
    file = sample.signed()
    held = run(file, "--to", sample.BANK)
    assert held.exit_code == 0, held.output
    assert held.output.startswith(f"holds: signed by {sample.DIRECTORY}/m/cap at 2026-03-12T09:30:00Z")
    assert "electricity: 4,697.55 kg CO2 in 12 months" in held.output
    assert "not known: whether" in held.output
    refused = run(file + b"more", "--to", sample.BANK)
    assert (refused.exit_code, refused.output[:24]) == (1, "does not hold: coverage:")
