"""Whatever a stranger sends to a reader, it meets that reader's own refusal: no other exception, and no endless work."""

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.fuzzing.targets import TARGETS, mutated

ROOT = Path(__file__).resolve().parents[2]
#: How often each seed is mutated in the fast set, and the seconds for which atheris explores each reader in the long one.
MUTATIONS = 400
SECONDS = int(os.environ.get("FUZZ_SECONDS", "600"))


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
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("name", TARGETS)
def test_atheris_finds_no_other_exception(name: str, tmp_path: Path) -> None:
    """A failure leaves the input in the folder that is printed; the seed repeats the run."""
    if importlib.util.find_spec("atheris") is None:
        missing("atheris")
    seed = random.SystemRandom().randrange(1, 2**31)
    folder = tmp_path / name
    print(f"seed {seed}, corpus and inputs in {folder}")
    options = [f"-seed={seed}", f"-max_total_time={SECONDS}", "-max_len=20000", "-timeout=10", "-rss_limit_mb=2048"]
    command = [sys.executable, "-m", "tests.fuzzing.explore", name, str(folder), *options, "-print_final_stats=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    output = done.stdout + done.stderr
    print("\n".join(line for line in output.splitlines() if line.startswith("stat::")))
    found = [path for path in folder.glob("*-*") if path.is_file()]
    inputs = "\n".join(f"{path}: {path.read_bytes()!r}"[:2000] for path in found)
    assert done.returncode == 0, f"seed {seed}\n{output[-3000:]}\n{inputs}"
    assert "stat::number_of_executed_units" in output, output[-3000:]
