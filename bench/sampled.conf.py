"""A door's gunicorn whose worker is sampled, into the file that SAMPLES names (see bench/sampling.py)."""

import os
import runpy
from pathlib import Path
from typing import Any

from bench import sampling
from consent_server import shipped

_door = runpy.run_path(str(shipped("config") / "gunicorn.conf.py"))
globals().update({name: value for name, value in _door.items() if not name.startswith("__")})


def post_worker_init(worker: Any) -> None:
    _door["post_worker_init"](worker)
    sampling.start(Path(os.environ["SAMPLES"]))
