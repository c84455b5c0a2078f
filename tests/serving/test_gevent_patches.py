"""What gunicorn's master loads before a worker's gevent patches the standard library.

A name that was bound before the patch keeps the original. A lock of the original kind stops the whole worker, and for ever
where its holder waits for the database or the network.
"""

import json
import os
import subprocess
import sys

from tests.serving.doors import ROOT

#: Locks of other packages that are held while memory or a file is read, and over nothing that may switch to another greenlet.
HELD_OVER_NO_WAIT = {
    "babel.localedata._cache_lock",
    "pydantic.main._rebuild_lock",
    "pydantic_settings.main._settings_cache_guard",
    "pytz.lazy._fill_lock",
    "sqlalchemy.orm.collections.__instrumentation_mutex",
    "sqlalchemy.orm.mapper._CONFIGURE_MUTEX",
    "sqlalchemy.sql.lambdas.AnalyzedCode._generation_mutex",
    "sqlalchemy.util.langhelpers.symbol._lock",
}

# As gunicorn does: it runs the configuration, is ready, forks, and the worker patches.
MASTER = """
import runpy, sys, types
configured = runpy.run_path(sys.argv[1])
ready = types.SimpleNamespace(app=types.SimpleNamespace(app_uri=configured["wsgi_app"]))
configured["when_ready"](ready)
from gevent import monkey
monkey.patch_all()
originals = {id(value) for names in monkey.saved.values() for value in names.values() if callable(value)}
of_lock = type(monkey.saved["_thread"]["allocate_lock"]()), monkey.saved["threading"]["_CRLock"]
for name, module in sys.modules.items():
    if name.partition(".")[0] in {"__main__", "gevent", *sys.stdlib_module_names} or not module:
        continue
    classes = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == name]
    for where, names in {name: vars(module), **{f"{name}.{each.__name__}": vars(each) for each in classes}}.items():
        for bound, value in names.items():
            ours = name.startswith("consent_server") and not isinstance(value, types.ModuleType)
            if isinstance(value, of_lock) or (ours and id(value) in originals):
                print(f"{where}.{bound}")
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
    assert int(loaded) > 80, "the configuration was run, and what a door needs was loaded"
    assert set(kept) <= HELD_OVER_NO_WAIT
