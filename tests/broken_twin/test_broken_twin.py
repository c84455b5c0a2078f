"""The tests of the matrix notice mistakes: each is switched on in a twin of the product, and its row's test must then fail.

One child pytest for each mistake runs that one test (all its cases). The same tests pass without a switch in every run of
the suite, so a failure here is the mistake's.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broken_twin.faults import MISTAKES, SWITCH

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(__file__).resolve().parent / "site"
#: Run in every run of the suite: they show that a switch reaches its module, and that a test's failure is seen.
FAST = ("a code is redeemed as often as it is sent", "permission for electricity releases gas")


def run(mistake: str, test: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")},
        SWITCH: mistake,
        "PYTHONPATH": os.pathsep.join([str(SITE), str(ROOT)]),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--tb=line",
        test,
    ]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=170)


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(each, id=f"{MISTAKES[each].row}: {each}", marks=[] if each in FAST else pytest.mark.long)
        for each in MISTAKES
    ],
)
def test_the_mistake_is_noticed(mistake: str) -> None:
    test = MISTAKES[mistake].test
    finished = run(mistake, test)
    assert finished.returncode == 1, f"not noticed: {mistake}\n{finished.stdout[-2000:]}\n{finished.stderr[-1000:]}"
    assert re.search(r"^FAILED ", finished.stdout, re.MULTILINE), f"no test failed:\n{finished.stdout[-2000:]}"


def test_each_mistake_still_finds_what_it_changes() -> None:
    """Each change is made in a process of its own, forked where every module has been imported."""
    program = """
import importlib, os
from tests.broken_twin.faults import MISTAKES
for name, mistake in MISTAKES.items():
    module = importlib.import_module(mistake.module)
    if not (child := os.fork()):
        mistake.change(module)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, name
"""
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr[-2000:]


def test_without_a_mistake_the_same_run_passes() -> None:
    finished = run("", MISTAKES[FAST[1]].test)
    assert finished.returncode == 0, finished.stdout[-2000:]


def test_each_mistake_has_its_row() -> None:
    rows = {
        line.split("|")[1].strip(): line
        for line in (ROOT / "docs/refusals.md").read_text(encoding="utf-8").splitlines()
        if re.match(r"\| [A-H]\d\d \|", line)
    }
    unnamed = [f"{each.row} {each.test}" for each in MISTAKES.values() if f"`{each.test}`" not in rows[each.row]]
    assert not unnamed, "\n".join(unnamed)
    assert len({each.row for each in MISTAKES.values()}) >= 20
