"""python -m tests.fuzzing.explore TARGET FOLDER SECONDS [libFuzzer options]: atheris looks for inputs that a reader fails on.

It ends after so many seconds of this process's CPU time. libFuzzer's own limit counts wall time, of which a busy machine gives
less work; at SIGUSR1 it ends as at its limit.
"""

import os
import random
import signal
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["consent_server"]):
    from tests.fuzzing.targets import TARGETS, mutated


def main() -> None:
    name, folder, seconds, *options = sys.argv[1:]
    target = TARGETS[name]
    corpus = Path(folder) / "corpus"
    corpus.mkdir(parents=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return atheris.Mutate(data, most)
        return mutated(data, chance, in_json=target.in_json)[:most]

    arguments = [sys.argv[0], f"-artifact_prefix={folder}/", *options, str(corpus)]
    atheris.Setup(arguments, target.read, custom_mutator=mutate)
    signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), signal.SIGUSR1))
    signal.setitimer(signal.ITIMER_PROF, float(seconds))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
