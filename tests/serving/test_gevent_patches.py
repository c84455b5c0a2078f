"""What gunicorn's master loads before a worker's gevent patches the standard library, and what a worker then waits for in C.

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
PATCHED = """
import gc, runpy, sys, types
configured = runpy.run_path(sys.argv[1])
configured["when_ready"](types.SimpleNamespace(handle_hup=None, app=types.SimpleNamespace(app_uri=configured["wsgi_app"])))
from gevent import monkey
monkey.patch_all()
"""
KEPT = """
originals = {id(value) for names in monkey.saved.values() for value in names.values() if callable(value)}
of_lock, of_rlock = type(monkey.saved["_thread"]["allocate_lock"]()), monkey.saved["threading"]["_CRLock"]
loaded = {name: module for name, module in sys.modules.items() if module}
ours = {name for name in loaded if name.startswith("consent_server")}
not_looked_at = {"__main__", "gevent", *sys.stdlib_module_names}
others = {name for name in loaded.keys() - ours if name.partition(".")[0] not in not_looked_at}

def locks(found, seen):
    # whatever is reached from an object of ours: a semaphore has a condition, which has a lock. The RLock of a cached property
    # stops no worker: it belongs to a thread, and all greenlets are of one.
    if id(found) in seen or isinstance(found, types.ModuleType):
        return False
    seen.add(id(found))
    if isinstance(found, (type, types.FunctionType)) and not str(found.__module__).startswith("consent_server"):
        return False
    # the original of a name may be kept in a default, as the factory of a field is
    return isinstance(found, of_lock) or id(found) in originals or any([locks(each, seen) for each in gc.get_referents(found)])

sys.setrecursionlimit(10_000)
seen = {id(vars(module)) for module in loaded.values()}
for name in sorted(ours):
    for bound, value in vars(loaded[name]).items():
        if not isinstance(value, types.ModuleType) and (id(value) in originals or locks(value, seen)):
            print(f"{name}.{bound}")
for name in sorted(others):
    names = vars(loaded[name])
    classes = [value for value in names.values() if isinstance(value, type) and value.__module__ == name]
    for where, names in {name: names, **{f"{name}.{each.__name__}": vars(each) for each in classes}}.items():
        for bound, value in names.items():
            if isinstance(value, (of_lock, of_rlock)):
                print(f"{where}.{bound}")
# it chooses how to wait for a server when it is loaded
print(*loaded.keys() & {"psycopg"})
print(len(ours))
"""
FOR_EVER = """
import os
for_ever = monkey.get_original("threading", "Lock")()
for_ever.acquire()
"""
LOOK_UPS = """
import _socket
from consent_server.outbound.addresses import resolve
from consent_server.outbound.deadline import Deadline
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.look_up import LookUps

real = _socket.getaddrinfo

def slow(host, *more, **rest):
    # as the system's resolver does in C while a name server does not answer
    return for_ever.acquire() if host.startswith("silent") else real(host, *more, **rest)

_socket.getaddrinfo = slow
for number in range(40):
    look_up = LookUps(resolve, Deadline(), 0.01)
    try:
        look_up(f"silent-{number}.example", 443)
    except Unreachable:
        pass
try:
    print(*LookUps(resolve, Deadline(), 60)("127.0.0.1", 443), flush=True)
finally:
    os._exit(0)  # without waiting for the threads
"""

JOURNAL = """
import gevent
import sqlalchemy as sa
from pathlib import Path
from consent_server.store import withdrawal_journal
from consent_server.store.withdrawal_journal import JournalEntry, StoreUnavailable

os.fsync = lambda _: for_ever.acquire()
withdrawal_journal.DISK_S = 0.2
never_connected = sa.create_mock_engine("postgresql+psycopg://", None)

def withdraw(number):
    try:
        withdrawal_journal.keep(never_connected, Path(sys.argv[2]), JournalEntry(number, ["one"], "", "", "", "", ""))
    except StoreUnavailable:
        return others.ready()

others = gevent.spawn(lambda: [gevent.sleep(0) for _ in range(3)])
withdrawals = [gevent.spawn(withdraw, number) for number in range(20)]  # more than there are threads
gevent.joinall(withdrawals, timeout=60)
print(*[each.value for each in withdrawals], flush=True)
os._exit(0)
"""


def patched(door, script, *arguments):
    """What a script prints in a process that has loaded and patched what a worker has."""
    overrides = json.dumps({"mutual_tls.origin": "https://localhost:1"})
    settings = {"CONSENT_CONFIG": str(door.config), "CONSENT_DOOR": "public", "CONSENT_SET": overrides}
    return subprocess.run(
        [sys.executable, "-c", PATCHED + script, str(ROOT / "config/gunicorn.conf.py"), *arguments],
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


def test_S3_nothing_that_the_master_loads_keeps_what_gevent_replaces(public_door):
    *kept, loaded = patched(public_door, KEPT)
    assert int(loaded) > 80, "the configuration was run, and what a door needs was loaded"
    assert set(kept) <= HELD_OVER_NO_WAIT


def test_S3_names_whose_server_does_not_answer_hold_up_the_look_up_of_no_other(public_door):
    assert patched(public_door, FOR_EVER + LOOK_UPS) == ["127.0.0.1"]


def test_S3_G06_a_journal_whose_disk_does_not_answer_holds_up_nobody(public_door, tmp_path):
    written = patched(public_door, FOR_EVER + JOURNAL, str(tmp_path / "journal"))
    assert written == ["True"] * 20, "each was refused in time, and after the others had gone on"
