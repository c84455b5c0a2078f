"""The sandbox's Registry: licenses with permission texts, roles, standards, processes, and the withdrawal message.

The permission texts are this project's own sandbox wording, in the form of the scheme's (Markdown subset, placeholders)
and marked as sandbox wording at their top. They are beside this module, in texts/.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response

from consent_server.sandbox.layout import LICENSES, OBSERVER, VERSION, Layout
from consent_server.sandbox.publishing import here, negotiated, published, refused
from consent_server.scheme import roles
from consent_server.scheme.instant import DAY

NAMESPACE: Final = "https://registry.trust.ib1.org/ns/1.0#"
# A versioned Registry URL never changes its content.
_MAX_AGE: Final = DAY

_CONTEXT: Final = {
    "dcterms": "http://purl.org/dc/terms/",
    "ib1": NAMESPACE,
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
}

_TEXTS: Final = Path(__file__).parent / "texts"
# The texts link to their own Registry, whose address depends on the sandbox's port.
_REGISTRY_IN_TEXTS: Final = b"https://registry.example"

WITHDRAWAL_MESSAGE: Final = "message/withdrawal-of-permission/2025-03-16"

_ESTIMATE = "Estimating emissions from energy use."
_ADVISE = "Working out savings, and advising."
_REPORT = "Passing the emissions report to the named bank."
_FINANCE = "Deciding on finance, and looking after it."

# manifest name -> title, transfer covered, permitted uses
_ABOUT: Final = {
    "electricity": (
        "Electricity Consumption Data License (older, electricity only)",
        "From an energy data provider to a carbon accounting provider: electricity alone.",
        (_ESTIMATE, _ADVISE),
    ),
    "electricity_and_gas": (
        "Energy Consumption Data License",
        "From an energy data provider to a carbon accounting provider: electricity and gas.",
        (_ESTIMATE, _ADVISE),
    ),
    "one_permission": (
        "Energy Consumption and Emissions Report Data License",
        "From an energy data provider to a carbon accounting provider, and on to a financial service provider.",
        (_ESTIMATE, _ADVISE, _REPORT, _FINANCE),
    ),
    "emissions": (
        "Emissions Report Data License",
        "From a carbon accounting provider to a financial service provider.",
        (_FINANCE,),
    ),
}

# Terms that other documents, provenance records and messages point to: path -> type, label, comment.
_TERMS: Final = {
    "trust-framework": ("TrustFramework", "Sandbox trust framework", "A trust framework on one machine."),
    "scheme/perseus": ("Scheme", "Perseus (sandbox)", "Energy data of small businesses, for green finance."),
    **{
        f"scheme/perseus/role/{name}": ("Role", label, "")
        for name, label in (
            (roles.EDP, "Energy data provider"),
            (roles.CAP, "Carbon accounting provider"),
            (roles.FSP, "Financial service provider"),
            (OBSERVER, "Observer: a role of the sandbox that opens no door"),
        )
    },
    f"scheme/perseus/standard/energy-consumption-data/{VERSION}": ("Standard", "Consumption Data API", ""),
    f"scheme/perseus/standard/emissions-report/{VERSION}": ("Standard", "Emissions Data API", ""),
    f"scheme/perseus/process/electricity-emissions-calculation/{VERSION}": ("Process", "Emissions of electricity", ""),
    f"scheme/perseus/process/gas-emissions-calculation/{VERSION}": ("Process", "Emissions of gas", ""),
    f"scheme/perseus/policy/information-provision/{VERSION}": (
        "Policy",
        "Information provision (sandbox)",
        "What each party tells the business. The sandbox binds nobody, so that it lays nothing down here.",
    ),
    f"scheme/perseus/policy/data-license-terms/{VERSION}": (
        "Policy",
        "Data license terms (sandbox)",
        "The sandbox licenses no data: its readings are made up.",
    ),
    **{
        f"scheme/perseus/{kind}/{value}": (kind.split("/")[0].title(), value, "")
        for kind, values in {
            "assurance/missing-data": ("Complete", "Missing", "Substituted"),
            "assurance/origin-method": ("SmartDCCOtherUser", "Exact", "Derived"),
            "source-type": ("Meter", "VirtualMeter", "GridCarbonIntensity", "GasGreenhouseGasFactor"),
        }.items()
        for value in values
    },
}


@cache
def permission_text(layout: Layout, name: str) -> bytes:
    """Return the raw permission text of a license (a name in LICENSES), byte for byte as the Registry serves it."""
    label, _ = LICENSES[name]
    return (_TEXTS / f"{label}.txt").read_bytes().replace(_REGISTRY_IN_TEXTS, layout.registry.encode("ascii"))


@cache
def text_sha256(layout: Layout, name: str) -> str:
    """Return the SHA-256 of the raw permission text, in hex: what a deployment pins."""
    return hashlib.sha256(permission_text(layout, name)).hexdigest()


def license_document(layout: Layout, name: str) -> dict[str, Any]:
    """Return a license as JSON-LD."""
    label, version = LICENSES[name]
    title, description, uses = _ABOUT[name]
    return {
        "@context": _CONTEXT,
        "@id": layout.license(name),
        "@type": "ib1:License",
        "rdfs:label": label,
        "rdfs:comment": title,
        "dcterms:description": f"{description} Sandbox wording.",
        "ib1:version": version,
        "ib1:licenseDuration": "1 year",
        "ib1:licenseTerritory": "United Kingdom",
        "ib1:licenseTerms": {"@id": f"{layout.scheme}/policy/data-license-terms/{VERSION}"},
        "ib1:permittedUse": list(uses),
        "ib1:permissionText": {
            "@id": f"{layout.registry}/{_text_path(label, version)}#{text_sha256(layout, name)}",
        },
    }


routes = Blueprint("registry", __name__, url_prefix="/registry")


@routes.get("/<path:path>")
def show(path: str) -> Response:
    layout = here()
    for name, (label, version) in LICENSES.items():
        if path == _text_path(label, version):
            return published(permission_text(layout, name), "text/plain; charset=utf-8", max_age=_MAX_AGE)
    if path == f"{WITHDRAWAL_MESSAGE}/schema.json":
        return published(_WITHDRAWAL_SCHEMA, "application/schema+json", max_age=_MAX_AGE)
    document = _documents(layout).get(path)
    if document is None:
        return refused(404, "not_found", "The Registry of this sandbox has nothing under that URL.")
    return negotiated(document, max_age=_MAX_AGE)


@cache
def _documents(layout: Layout) -> dict[str, dict[str, Any]]:
    """Return path below the Registry -> document."""
    return {
        **{_path(layout, layout.license(name)): license_document(layout, name) for name in LICENSES},
        **{path: _term(layout, path) for path in _TERMS},
        WITHDRAWAL_MESSAGE: _withdrawal_message(layout),
    }


_WITHDRAWAL_SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["token"],
    "properties": {"token": {"type": "string", "minLength": 1}},
}


def _text_path(label: str, version: str) -> str:
    return f"scheme/perseus/permission-text/{label}/{version}.txt"


def _path(layout: Layout, url: str) -> str:
    return url.removeprefix(f"{layout.registry}/")


def _term(layout: Layout, path: str) -> dict[str, Any]:
    kind, label, comment = _TERMS[path]
    return {
        "@context": _CONTEXT,
        "@id": f"{layout.registry}/{path}",
        "@type": f"ib1:{kind}",
        "rdfs:label": label,
        **({"rdfs:comment": comment} if comment else {}),
    }


def _withdrawal_message(layout: Layout) -> dict[str, Any]:
    return {
        "@context": _CONTEXT,
        "@id": f"{layout.registry}/{WITHDRAWAL_MESSAGE}",
        "@type": "ib1:Message",
        "rdfs:comment": "Withdrawal of permission",
        "ib1:messageSchema": {"@id": f"{layout.registry}/{WITHDRAWAL_MESSAGE}/schema.json"},
    }
