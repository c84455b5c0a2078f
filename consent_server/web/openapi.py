"""The OpenAPI documents of a door's machine interfaces, served where the interfaces are.

They are written by hand and lie in consent_server/openapi. What several have in common stands once, in shared.json; a
served document is complete in itself, so that no program has to follow references over mutual TLS.
"""

import re
from pathlib import Path
from typing import Any, Final

import orjson
from flask import Blueprint, Response

FOLDER: Final = Path(__file__).parent.parent / "openapi"
MAX_AGE: Final = 300

_SHARED: Final = re.compile(r'"shared\.json#/components/(\w+)/(\w+)"')
_OWN: Final = re.compile(r'"#/components/(\w+)/(\w+)"')


def document(name: str) -> dict[str, Any]:
    """A document with the components of shared.json that it refers to, directly or through others."""
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    shared = orjson.loads((FOLDER / "shared.json").read_bytes())["components"]
    found: dict[str, Any] = orjson.loads(_SHARED.sub(r'"#/components/\1/\2"', text))
    components = found.setdefault("components", {})
    wanted = [*_SHARED.findall(text), *(("securitySchemes", each) for each in _schemes(found))]
    for kind, each in wanted:  # grows while it is read
        if each not in components.setdefault(kind, {}):
            components[kind][each] = shared[kind][each]
            wanted.extend(_OWN.findall(orjson.dumps(shared[kind][each]).decode()))
    return found


def _schemes(found: dict[str, Any]) -> list[str]:
    """Security requirements name their schemes without a reference (OpenAPI 3.1 section 4.8.30)."""
    return [scheme for requirement in found["security"] for scheme in requirement]


def blueprint(*names: str) -> Blueprint:
    """GET /openapi/<name>.json for each of `names`; any other name is not found."""
    documents = {name: orjson.dumps(document(name)) for name in names}
    routes = Blueprint("openapi", __name__)

    @routes.get(f"/openapi/<any({', '.join(map(repr, names))}):name>.json")
    def openapi(name: str) -> Response:
        response = Response(documents[name], mimetype="application/json")
        response.headers["Cache-Control"] = f"public, max-age={MAX_AGE}"
        return response

    return routes
