"""What gunicorn's master loads before a worker's gevent patches the standard library.

A name that was bound before the patch keeps the original. A lock of the original kind stops the whole worker, and for ever
where its holder waits for the database or the network.
"""

import json
import os
import subprocess
import sys

from tests.serving.doors import ROOT

# As gunicorn does: it runs the configuration, forks, and the worker patches.
MASTER = """
import runpy, sys, types
runpy.run_path(sys.argv[1])
from gevent import monkey
monkey.patch_all()
originals = {id(value) for names in monkey.saved.values() for value in names.values() if callable(value)}
of_lock = type(monkey.saved["_thread"]["allocate_lock"]())
for name, module in sorted(sys.modules.items()):
    if name.startswith("consent_server"):
        for bound, value in vars(module).items():
            if not isinstance(value, types.ModuleType) and (id(value) in originals or isinstance(value, of_lock)):
                print(f"{name}.{bound}")
print(sum(name.startswith("consent_server") for name in sys.modules))
"""


def test_S3_nothing_that_the_master_loads_keeps_a_name_that_gevent_replaces(public_door):
    overrides = json.dumps({"mutual_tls.origin": "https://localhost:1"})
    settings = {"CONSENT_CONFIG": str(public_door.config), "CONSENT_DOOR": "public", "CONSENT_SET": overrides}
    *kept, loaded = subprocess.run(
        [sys.executable, "-c", MASTER, str(ROOT / "config/gunicorn.conf.py")],
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert int(loaded) > 20, "the configuration was run"
    assert kept == []
