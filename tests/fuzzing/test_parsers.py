"""Whatever a stranger sends to a reader, it meets that reader's own refusal: no other exception, and no endless work."""

import importlib.util
import os
import random
import re
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.fuzzing.targets import TARGETS, mutated

ROOT = Path(__file__).resolve().parents[2]
#: How often each seed is mutated in the fast set, and the CPU seconds for which atheris explores each parser in the long one,
#: shared equally among the parser's targets.
MUTATIONS = 400
SECONDS = int(os.environ.get("FUZZ_SECONDS", "600"))
SHARES = Counter(target.parser for target in TARGETS.values())


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_their_mutations_are_read_or_refused(name: str) -> None:
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds()):
        target.read(seed)
        chance = random.Random(f"{name} {number}")  # the same mutations every time
        for _ in range(MUTATIONS):
            data = mutated(seed, chance, in_json=target.in_json)[:20_000]
            try:
                target.read(data)
            except Exception as error:
                pytest.fail(f"{type(error).__name__}: {error} for {data!r}")


@pytest.mark.long
@pytest.mark.timeout(4 * SECONDS + 120)  # CPU seconds last longer where others compute
@pytest.mark.parametrize("name", TARGETS)
def test_atheris_finds_no_other_exception(name: str, tmp_path: Path) -> None:
    """A failure leaves the input in the folder that is printed; the seed repeats the run."""
    if importlib.util.find_spec("atheris") is None:
        missing("atheris")
    seed = random.SystemRandom().randrange(1, 2**31)
    folder = tmp_path / name
    print(f"seed {seed}, corpus and inputs in {folder}")
    seconds = SECONDS / SHARES[TARGETS[name].parser]
    options = [f"-seed={seed}", "-max_len=20000", "-timeout=10", "-rss_limit_mb=2048"]
    command = [
        sys.executable,
        "-m",
        "tests.fuzzing.explore",
        name,
        str(folder),
        str(seconds),
        *options,
        "-print_final_stats=1",
    ]
    before = _of_children()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    spent = _of_children() - before
    output = done.stdout + done.stderr
    print(f"{spent:.0f} CPU seconds")
    print("\n".join(line for line in output.splitlines() if line.startswith("stat::")))
    found = [path for path in folder.glob("*-*") if path.is_file()]
    inputs = "\n".join(f"{path}: {path.read_bytes()!r}"[:2000] for path in found)
    assert done.returncode == 0, f"seed {seed}\n{output[-3000:]}\n{inputs}"
    executed = re.search(r"stat::number_of_executed_units: *(\d+)", output)
    assert executed, output[-3000:]
    assert int(executed[1]) > 0
    assert spent > 0.8 * seconds, "it ended before its time"  # the timer counts whole ticks: 269 of 300 once


def _of_children() -> float:
    """The CPU seconds of the processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
