"""What the trust services return: cacheable documents with an ETag, and JSON errors that say what to change."""

import json
from typing import Any

from flask import Response, request


def published(body: bytes | str | dict[str, Any], content_type: str = "application/json", *, max_age: int) -> Response:
    """Return a document that may be cached for `max_age` seconds; 304 for a client that has it already."""
    if isinstance(body, dict):
        body = json.dumps(body, indent=1, ensure_ascii=False) + "\n"
    response = Response(body, content_type=content_type)
    response.headers["Cache-Control"] = f"public, max-age={max_age}"
    response.vary.add("Accept")
    response.add_etag()
    response.make_conditional(request)
    return response


def answered(body: dict[str, Any], status: int = 200) -> Response:
    """Return a document of this moment, which must not be cached."""
    response = Response(json.dumps(body, indent=1, ensure_ascii=False) + "\n", status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def refused(status: int, error: str, description: str) -> Response:
    """Return an error; `description` says what the caller must change."""
    return answered({"error": error, "error_description": description}, status)
