"""gunicorn's logger with our format of lines, and gunicorn's own responses when no request reaches the application."""

import json
import re
import socket
import sys
from typing import TYPE_CHECKING, Any

from gevent import GreenletExit
from gunicorn.glogging import Logger

from consent_server import audit, clock
from consent_server.serving import log_stream
from consent_server.serving.lines import JsonLines, may_be_written

if TYPE_CHECKING:
    import datetime

#: Path segments that may be secret (an evidence page's address) and long numbers (a meter's) are not written down.
_SECRET_IN_PATH = re.compile(r"[^/]{20,}|[0-9]{6,}")
#: Where callers and proxies name a request, and what is left out of such a name.
_CALLERS_IDS = ("HTTP_X_REQUEST_ID", "HTTP_X_FAPI_INTERACTION_ID")
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]")
LONGEST_CALLER_ID = 48


class DoorLog(Logger):  # type: ignore[misc]
    """gunicorn's logger, in our lines. `door` is set by the configuration."""

    door = "-"

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setStream(log_stream.of(2))
            handler.setFormatter(JsonLines(self.door))
            handler.addFilter(may_be_written)

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        malformed = sys.exc_info()[0]
        if malformed and "extra" not in kwargs:
            # gunicorn quotes the request line or the header here, and either may hold a secret
            msg, args = f"malformed request: {malformed.__name__}", ()
        super().warning(msg, *args, **kwargs)

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        if isinstance(sys.exc_info()[1], GreenletExit):
            super().warning("a request was cut off, for the door closes")
            return
        super().exception("fault outside the application", **kwargs)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: "datetime.timedelta") -> None:
        line = {
            "at": clock.now(),
            "event": "request",
            "correlation_id": audit.correlation_id.get(),
            **_callers_id(environ),
            "door": self.door,
            "address": environ.get("REMOTE_ADDR", ""),
            "method": environ.get("REQUEST_METHOD", ""),
            "path": _SECRET_IN_PATH.sub("*", environ.get("PATH_INFO", "")),
            "status": int(resp.status[:3]),
            "bytes": resp.sent,
            "ms": round(request_time.total_seconds() * 1000, 1),
        }
        log_stream.of(1).line(audit.as_json(line))


def _callers_id(environ: dict[str, Any]) -> dict[str, str]:
    """Return what the caller calls this request, cleaned and shortened, as `caller_id`; nothing where it has no name."""
    first, second = _CALLERS_IDS
    cleaned = _NOT_IN_ID.sub("", environ.get(first) or environ.get(second) or "")[:LONGEST_CALLER_ID]
    return {"caller_id": cleaned} if cleaned else {}


class Answers:
    """What a door says when no request reaches the application: like every answer of ours, and quoting nothing."""

    def __init__(self, public_origin: str) -> None:
        self._public_origin = public_origin

    def write_error(self, client: socket.socket, status: int, reason: str, message: str) -> None:
        """Takes the place of gunicorn.util.write_error."""
        fault = status == 500
        body = json.dumps(
            {
                "error": "server_error" if fault else "invalid_request",
                "error_description": "The server met an error that it did not expect."
                if fault
                else "The request is not well-formed HTTP for this address.",
                "error_uri": f"{self._public_origin}/errors/{'server_error' if fault else 'bad_http_request'}",
                "correlation_id": audit.correlation_id.get(),
            }
        )
        head = (
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Cache-Control: no-store\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        client.sendall((head + body).encode("ascii"))
