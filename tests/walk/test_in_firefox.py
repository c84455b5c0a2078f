"""The way from a bank's invitation to the figures in Debian's Firefox, by WebDriver BiDi: its rules for redirects of forms, for
cookies and for policies are other than Chromium's. Debian has no geckodriver, and Playwright drives a Firefox of its own alone.
"""

import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench import journey
from tests.conftest import RunningSandbox, missing, program

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.xdist_group("sandbox")]

SCRIPTS = Path(__file__).parent / "firefox"
SME = "gaps"


@pytest.fixture
def driver(tmp_path: Path) -> list[str]:
    """The command that walks, with exactly the locked packages beside it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing("node and npm")
    for script in SCRIPTS.iterdir():
        shutil.copy(script, tmp_path)
    install = [str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    if subprocess.run(install, cwd=tmp_path, capture_output=True, check=False, timeout=120).returncode:
        missing("the locked npm packages (npm ci failed: is there a network?)")
    return [str(node), str(tmp_path / "walk.mjs")]


def test_from_a_banks_invitation_to_the_figures_at_the_bank(sandbox: RunningSandbox, driver: list[str]) -> None:
    firefox = program("firefox-esr")
    pages = sandbox.manifest["pages"]
    hosts = {party: urlsplit(url).netloc for party, url in pages.items()}
    acts = {
        f"{hosts[party]}{path}": {"click": act.click, "fill": dict(act.fill), "check": list(act.check)}
        for (party, path), act in journey.acts_of(sandbox.manifest, SME).items()
    }
    told = {"program": firefox, "start": pages["fsp"], "until": f"{pages['fsp']}/emissions/", "acts": acts}
    ran = subprocess.run(driver, input=json.dumps(told), capture_output=True, text=True, timeout=180, check=False)
    met = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0, f"{met}\n{ran.stderr}"
    assert [each["url"] for each in met if each["width"] > 390] == []
    ours = [(party, urlsplit(each["url"]).path) for each in met for party in hosts if hosts[party] in each["url"]]
    assert ours[-2:] == [("cap", "/connected"), ("fsp", urlsplit(met[-1]["url"]).path)]
    assert ("edp", "/journey/permission") in ours
