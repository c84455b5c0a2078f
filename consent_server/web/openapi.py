"""The OpenAPI documents of a door's machine interfaces, served where the interfaces are.

They are written by hand, in consent_server/openapi. What several have in common is in shared.json; a
served document is complete in itself, so that no program has to follow references over mutual TLS.
"""

import re
from pathlib import Path
from typing import Any, Final

import orjson
from flask import Flask, Response, current_app

from consent_server.web.documents import cacheable

FOLDER: Final = Path(__file__).parent.parent / "openapi"
MAX_AGE: Final = 300

_SERVED: Final = "OPENAPI_DOCUMENTS"

_SHARED: Final = re.compile(r'"shared\.json#/components/(\w+)/(\w+)"')
_OWN: Final = re.compile(r'"#/components/(\w+)/(\w+)"')


def document(name: str) -> dict[str, Any]:
    """Return a document with the components of shared.json that it refers to, directly or through others."""
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    shared = orjson.loads((FOLDER / "shared.json").read_bytes())["components"]
    found: dict[str, Any] = orjson.loads(_SHARED.sub(r'"#/components/\1/\2"', text))
    components = found.setdefault("components", {})
    # Security requirements name their schemes without a reference (OpenAPI 3.1 section 4.8.30).
    schemes = [scheme for requirement in found["security"] for scheme in requirement]
    wanted = [*_SHARED.findall(text), *(("securitySchemes", each) for each in schemes)]
    for kind, each in wanted:  # grows while it is read
        if each not in components.setdefault(kind, {}):
            components[kind][each] = shared[kind][each]
            wanted.extend(_OWN.findall(orjson.dumps(shared[kind][each]).decode()))
    return found


def install(app: Flask, names: tuple[str, ...]) -> None:
    """Serve each of these documents at /openapi/<name>.json; any other name is not found, whatever the method."""
    app.config[_SERVED] = {name: orjson.dumps(document(name)) for name in names}
    if names:
        app.add_url_rule(f"/openapi/<any({', '.join(map(repr, names))}):name>.json", view_func=openapi)


def openapi(name: str) -> Response:
    """Return one of the documents."""
    served: dict[str, bytes] = current_app.config[_SERVED]
    return cacheable(served[name], "application/json", MAX_AGE)
