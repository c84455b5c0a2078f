"""Log lines: JSON, one object each, audit events as they are and everything else in the same shape.

No query string, no header and no body is ever written, nor what a library's exception says: its type and place are.
"""

import json
import logging
import sys
import traceback
from typing import TextIO

from consent_server import audit, clock

#: Their INFO and DEBUG lines hold URLs with queries, or tokens.
NOISY = ("httpx", "httpcore", "authlib", "alembic")


class JsonLines(logging.Formatter):
    """`process` says which door or job runner wrote the line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

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
        return json.dumps(line, ensure_ascii=True, separators=(",", ":"))


def install(process: str, stream: TextIO | None = None) -> None:
    """Let every logger of this process write such lines, to standard error unless told otherwise."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(process))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
