"""What the trust services share: the sandbox that they serve, cacheable documents with an ETag, and JSON errors that say what
to change."""

import json
from typing import Any, Final

import rdflib
from flask import Blueprint, Flask, Response, current_app, request
from rdflib.plugins.parsers.jsonld import to_rdf

from consent_server.sandbox.layout import Layout

JSON: Final = "application/json"
JSON_LD: Final = "application/ld+json"
TURTLE: Final = "text/turtle"

_EXTENSION: Final = "sandbox"


def install(app: Flask, layout: Layout, *routes: Blueprint) -> None:
    """Let an application serve these routes of a sandbox."""
    app.extensions[_EXTENSION] = layout
    for each in routes:
        app.register_blueprint(each)


def here() -> Layout:
    """Return the sandbox of the application that is being served."""
    found: Layout = current_app.extensions[_EXTENSION]
    return found


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


def negotiated(json_ld: dict[str, Any], plain: dict[str, Any] | None = None, *, max_age: int) -> Response:
    """Return an entry in the format that the client prefers: JSON-LD, Turtle, or `plain`, which is JSON in its own fields.

    Whoever prefers none gets the first: JSON where there is some, otherwise JSON-LD.
    """
    offered = [JSON, JSON_LD, TURTLE] if plain is not None else [JSON_LD, JSON, TURTLE]
    wanted = request.accept_mimetypes.best_match(offered)
    if wanted == TURTLE:
        graph = rdflib.Graph()
        to_rdf(json_ld, graph)
        return published(graph.serialize(format="turtle"), f"{TURTLE}; charset=utf-8", max_age=max_age)
    if plain is not None and wanted != JSON_LD:
        return published(plain, max_age=max_age)
    return published(json_ld, JSON_LD, max_age=max_age)


def answered(body: dict[str, Any], status: int = 200) -> Response:
    """Return a document of this moment, which must not be cached."""
    response = Response(json.dumps(body, indent=1, ensure_ascii=False) + "\n", status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def refused(status: int, error: str, description: str) -> Response:
    """Return an error; `description` says what the caller must change."""
    return answered({"error": error, "error_description": description}, status)
