"""`report verify`: what a bank reads of a file that holds, and of one that does not."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from consent_server import clock
from consent_server.documents import parts
from consent_server.documents.verify import verify
from tests.documents import sample
from tests.scheme.signing import NOW, signing_authority


@pytest.fixture
def run(command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(clock, "now", lambda: NOW + 60)

    def verify(*files: bytes) -> Result:
        paths, root = [tmp_path / f"report-{number}.pdf" for number in range(len(files))], tmp_path / "root.pem"
        for path, file in zip(paths, files, strict=True):
            path.write_bytes(file)
        root.write_bytes(signing_authority().root_pem)
        trusted = ("--root", root, "--trust-framework", sample.FRAMEWORK, "--to", sample.BANK)
        return command("report", "verify", *paths, *trusted)

    return verify


def test_the_published_sample_holds(command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """If it does not: the words of a report have changed, and `python -m tests.documents.sample` makes it anew."""
    monkeypatch.chdir(sample.PUBLISHED_FILE.parents[2])
    page = Path("docs/report.md").read_text()
    (asked,) = re.findall(r"^consent-server (report verify --root docs/sample[^`]*)", page, re.MULTILINE)
    held = command(*shlex.split(asked.replace("\\\n", " ")))
    assert held.exit_code == 0, held.output
    assert "gas: 215,341.30 kg CO2e in 11 of 12 months" in held.output


def test_a_file_that_holds_and_one_that_does_not(run: Callable[..., Result]) -> None:
    file = sample.signed()
    held = run(file)
    assert held.exit_code == 0, held.output
    assert held.output.startswith(f"holds: signed by {sample.DIRECTORY}/m/cap at 2026-03-12T09:30:00Z")
    assert "electricity: 4,697.55 kg CO2 in 12 of 12 months" in held.output
    assert "not known: whether" in held.output
    refused = run(file + b"more")
    assert (refused.exit_code, refused.output[:24]) == (1, "does not hold: coverage:")


def test_the_parts_of_a_report(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "verify_apart", verify)  # the test above has the process that it is done in
    one, other = sample.parts()
    held = run(other, one)
    assert held.exit_code == 0, held.output
    told = held.output.splitlines()
    assert [line[:18] for line in told if "its record has" in line] == ["2025-03 to 2025-09", "2025-10 to 2026-02"]
    assert told[-3:] == [
        "together they are all parts of the report on 2025-03 to 2026-02, and add up to its totals:",
        "electricity: 4,697.55 kg CO2 in 12 of 12 months",
        "gas: 215,341.30 kg CO2e in 11 of 12 months",
    ]
    alone = run(one)
    assert alone.exit_code == 0
    assert "it is a part of a report on 2025-03 to 2026-02: give all parts" in alone.output
    assert "of 12 months" not in alone.output, "the totals of all parts, which one does not prove"
    refused = run(one, sample.signed())
    assert (refused.exit_code, refused.output) == (1, "does not hold: parts: they are not the parts of one report\n")
