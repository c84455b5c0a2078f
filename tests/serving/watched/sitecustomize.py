"""On the path of a sandbox's doors: whoever switches to another greenlet inside an act that writes is written down.

CONSENT_WATCH is the folder for what is found. A file `watching-PID` says that a process was watched.
"""

import contextlib
import importlib.abc
import importlib.machinery
import os
import sys
import traceback

FOLDER = os.environ.get("CONSENT_WATCH", "")
NAME = "consent_server.store.database"


def watch(module) -> None:
    import greenlet

    inside: dict[int, int] = {}
    open_transaction = module.writing

    @contextlib.contextmanager
    def writing():
        """SQLite's COMMIT is no part of the block: it waits in a thread, and the others of the worker go on."""
        with open_transaction() as connection:
            me = id(greenlet.getcurrent())
            inside[me] = os.getpid()
            try:
                yield connection
            finally:
                inside.pop(me, None)

    module.writing = writing

    def switched(event, args):
        origin, _ = args
        if inside.get(id(origin)) == os.getpid() and not origin.dead:
            with open(f"{FOLDER}/switched-{os.getpid()}", "a", encoding="utf-8") as found:
                found.write("".join(traceback.format_stack(origin.gr_frame)) + "\n")

    greenlet.settrace(switched)
    open(f"{FOLDER}/watching-{os.getpid()}", "w").close()


class Finder(importlib.abc.MetaPathFinder):
    """Watches from the moment that the store is there, which is after gevent has patched."""

    def find_spec(self, name, path, target=None):
        if name != NAME:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def execute(module):
            run(module)
            watch(module)

        spec.loader.exec_module = execute
        return spec


if FOLDER and "CONSENT_DOOR" in os.environ:
    sys.meta_path.insert(0, Finder())
