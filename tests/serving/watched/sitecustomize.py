"""On the path of a sandbox's doors: whoever switches to another greenlet inside a transaction that writes is written down.

CONSENT_WATCH is the folder for what is found. A file `watching-PID` says that a process was watched.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import traceback

FOLDER = os.environ.get("CONSENT_WATCH", "")
NAME = "consent_server.store.database"


def watch() -> None:
    import greenlet
    import sqlalchemy as sa

    inside: dict[int, int] = {}

    def begins(connection):
        if connection.get_execution_options().get("writing"):
            inside[id(greenlet.getcurrent())] = os.getpid()

    def ends(connection):
        inside.pop(id(greenlet.getcurrent()), None)

    sa.event.listen(sa.engine.Engine, "begin", begins)
    sa.event.listen(sa.engine.Engine, "commit", ends)
    sa.event.listen(sa.engine.Engine, "rollback", ends)

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
            watch()

        spec.loader.exec_module = execute
        return spec


if FOLDER and "CONSENT_DOOR" in os.environ:
    sys.meta_path.insert(0, Finder())
