"""Log lines: JSON, one object each, audit events as they are and everything else in the same shape.

No query string, no header and no body is ever written, nor what a library's exception says: its type and place are.
"""

import logging
import os
import resource
import traceback
from typing import TextIO

from consent_server import audit, clock
from consent_server.serving import log_stream

#: What is written of a package's loggers, whatever their level is: of every other package warnings and errors. Below that
#: they hold URLs with queries, tokens, bytes of requests, and the values of every statement and row.
_LEAST = {"consent_server": logging.DEBUG, "gunicorn": logging.INFO}


#: What systemd's journal reads in front of a line that is more than information (sd-daemon(3)), and takes off.
_JOURNALS = {logging.WARNING: "<4>", logging.ERROR: "<3>", logging.CRITICAL: "<2>"}


class JsonLines(logging.Formatter):
    """`process` says which door or job runner wrote the line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process
        self._levels = _JOURNALS if _is_journal(2) else {}

    def format(self, record: logging.LogRecord) -> str:
        if record.name == audit.log.name:
            return record.getMessage()
        line = {
            "at": clock.now(),
            "event": "log",
            "correlation_id": audit.correlation_id.get(),
            "door": self._process,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["fault"] = record.exc_info[0].__name__
            line["where"] = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(record.exc_info[2])]
        return self._levels.get(record.levelno, "") + audit.as_json(line)


def _is_journal(descriptor: int) -> bool:
    """Return whether a descriptor leads to systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    there = os.fstat(descriptor)
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def may_be_written(record: logging.LogRecord) -> bool:
    """Return whether a line may be written, as a filter of handlers."""
    return record.levelno >= _LEAST.get(record.name.partition(".")[0], logging.WARNING)


def handler(process: str, stream: TextIO | log_stream.LogStream) -> logging.Handler:
    """Return a handler that writes such lines."""
    made = logging.StreamHandler(stream)
    made.setFormatter(JsonLines(process))
    made.addFilter(may_be_written)
    return made


def install(process: str) -> None:
    """Let every logger of this process write such lines to standard error, and nothing else be written.

    A core file would hold keys, tokens and postcodes. One byte rather than none: a program that takes core files through a
    pipe (core(5)) gets them under a limit of none, and not under this one.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    if most == resource.RLIM_INFINITY or most > 1:  # a limit of none that somebody has set cannot be raised
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    # No line has the place in the code, thread or process: finding them takes as long as the line (logging, "Optimization").
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.INFO, handlers=[handler(process, log_stream.of(2))], force=True)
