"""The sandbox's Directory: its made-up members and applications, the catalogue of data services, and the allowlist.

JSON is what deployed clients read. Whoever asks for JSON-LD or Turtle gets the terms that the specifications name (Directory
1.0, RDF Representations; Data Catalog Records 1.0), which have no memberships.
"""

from collections.abc import Iterable
from typing import Any, Final

from flask import Blueprint, Response, request

from consent_server.sandbox import membership
from consent_server.sandbox.layout import APPLICATIONS, HOST, LOGOS, MEMBERS, VERSION, Layout
from consent_server.sandbox.publishing import here, negotiated, published, refused
from consent_server.sandbox.registry import NAMESPACE

# Short, so that a change to a Directory would be seen while somebody watches.
_MAX_AGE: Final = 60
# Past every step of the sandbox's clock.
_MEMBERSHIP_EXPIRY: Final = "2099-12-31"

_CONTEXT: Final = {
    "dcat": "http://www.w3.org/ns/dcat#",
    "dcterms": "http://purl.org/dc/terms/",
    "ib1": NAMESPACE,
    "schema": "http://schema.org/",
}

_SERVICES: Final = {
    "edp": ("edp_service", "Half-hourly electricity and gas consumption"),
    "cap": ("cap_portal", "Monthly emissions reports"),
}


def member_document(layout: Layout, name: str, *, memberships: bool) -> dict[str, Any]:
    """Return a member (a name in MEMBERS), as /m/<id> shows it; with its memberships when they are asked for."""
    entry = MEMBERS[name]
    document: dict[str, Any] = {
        "id": layout.member(name),
        "legalName": entry.legal_name,
        "email": f"directory@{entry.id}.example",
        "roles": [layout.role(role) for role in entry.roles],
        "privacyPolicy": f"{layout.member(name)}/privacy",
    }
    if entry.brand_name:
        document["brand"] = {"name": entry.brand_name}
    if (LOGOS / f"{name}.svg").exists():
        document["logo"] = f"{layout.control}/static/{name}.svg"
    if memberships:
        document["trustFrameworkMemberships"] = [
            {
                "trustFramework": layout.trust_framework,
                "membershipStatus": "Suspended" if name in membership.suspended(layout) else "Active",
                "membershipExpiry": _MEMBERSHIP_EXPIRY,
            }
        ]
        agreement = {
            "agreement": f"{layout.scheme}/agreement/{VERSION}",
            "executed": VERSION,
            "expiry": _MEMBERSHIP_EXPIRY,
        }
        document["schemeMemberships"] = [
            {"scheme": layout.scheme, "orgRoles": document["roles"], "executions": [agreement]}
        ]
    return document


def application_document(layout: Layout, name: str) -> dict[str, Any]:
    """Return an application (a name in APPLICATIONS), as /a/<id> shows it."""
    entry = APPLICATIONS[name]
    party = entry.member if entry.member in ("edp", "cap", "fsp") else None
    document: dict[str, Any] = {
        "id": layout.application(name),
        "publisher": layout.member_of(name),
        "title": entry.title,
        "description": f"{entry.title}, made up for this sandbox.",
        "scheme": layout.scheme,
        "role": layout.roles_of(name),
        "homePageURL": layout.origin(f"{party}_public") if party else layout.control,
    }
    if delivery := layout.message_delivery(name):
        document["messageDelivery"] = delivery
    return document


def data_services(layout: Layout, standard: str | None) -> list[dict[str, Any]]:
    """Return the catalogue, or what in it conforms to one standard."""
    standards = {"edp": layout.consumption_standard, "cap": layout.emissions_standard}
    return [
        {
            "id": layout.data_service(party),
            "application_id": layout.application(application),
            "publisher": layout.member_of(application),
            "title": title,
            "conformsTo": standards[party],
            "endpointURL": layout.resource(party),
            "oauthIssuer": layout.issuer(party),
        }
        for party, (application, title) in _SERVICES.items()
        if standard in (None, standards[party]) and application not in membership.withdrawn(layout)
    ]


def organizations(layout: Layout, role: str | None) -> list[dict[str, Any]]:
    """Return the members, or those that hold one role."""
    documents = [member_document(layout, name, memberships=False) for name in MEMBERS]
    return [each for each in documents if role is None or role in each["roles"]]


def allowlist(layout: Layout) -> dict[str, Any]:
    """Return the host names that members' servers have."""
    return {
        "ib1:allowlist": "1.0",
        "allowlistFor": layout.trust_framework,
        "lastUpdated": "2026-03-12T00:00:00Z",
        "allowed": [HOST],
    }


_MEMBER_OF_ID: Final = {entry.id: name for name, entry in MEMBERS.items()}
_APPLICATION_OF_ID: Final = {entry.id: name for name, entry in APPLICATIONS.items()}

routes = Blueprint("directory", __name__, url_prefix="/directory")


@routes.get("/m/<member_id>")
def member(member_id: str) -> Response:
    name = _MEMBER_OF_ID.get(member_id)
    if name is None:
        return _unknown()
    with_memberships = "memberships" in request.args.get("include", "").split(",")
    document = member_document(here(), name, memberships=with_memberships)
    return negotiated(_member_in_rdf(document), document, max_age=membership.MAX_AGE_S)


@routes.get("/m/<member_id>/privacy")
def privacy(member_id: str) -> Response:
    name = _MEMBER_OF_ID.get(member_id)
    if name is None:
        return _unknown()
    legal_name = MEMBERS[name].legal_name
    text = f"{legal_name} exists in this sandbox alone. What it is told is made up, and gone when the sandbox is.\n"
    return published(text, "text/plain; charset=utf-8", max_age=_MAX_AGE)


@routes.get("/a/<application_id>")
def application(application_id: str) -> Response:
    name = _APPLICATION_OF_ID.get(application_id)
    if name is None or name in membership.withdrawn(here()):
        return _unknown()
    document = application_document(here(), name)
    return negotiated(_application_in_rdf(document), document, max_age=membership.MAX_AGE_S)


# The second path of each query is the one that the specification names; the first is the one in use.
@routes.get("/query/data-services")
@routes.get("/query/data-catalog/api")
def services() -> Response:
    found = data_services(here(), request.args.get("conformsTo"))
    return negotiated(_graph(map(_service_in_rdf, found)), {"apis": found}, max_age=_MAX_AGE)


@routes.get("/query/organizations", defaults={"key": "organizations"})
@routes.get("/query/members-with-role", defaults={"key": "members"})
def with_role(key: str) -> Response:
    found = organizations(here(), request.args.get("role"))
    return negotiated(_graph(map(_member_in_rdf, found)), {key: found}, max_age=_MAX_AGE)


@routes.get("/catalogue/<service>")
def catalogue_entry(service: str) -> Response:
    for entry in data_services(here(), None):
        if entry["id"].endswith(f"/{service}"):
            return negotiated(_graph([_service_in_rdf(entry)]), entry, max_age=_MAX_AGE)
    return _unknown()


@routes.get("/server-allowlist")
def servers() -> Response:
    return published(allowlist(here()), max_age=_MAX_AGE)


def _graph(nodes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {
        "@context": _CONTEXT,
        "@graph": [{name: node[name] for name in node if name != "@context"} for node in nodes],
    }


def _links(urls: Iterable[str]) -> list[dict[str, str]]:
    return [{"@id": url} for url in urls]


def _member_in_rdf(member: dict[str, Any]) -> dict[str, Any]:
    return {
        "@context": _CONTEXT,
        "@id": member["id"],
        "@type": "schema:Organization",
        "schema:legalName": member["legalName"],
        "schema:email": member["email"],
        "ib1:role": _links(member["roles"]),
        "ib1:privacyPolicy": {"@id": member["privacyPolicy"]},
    }


def _application_in_rdf(application: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "@context": _CONTEXT,
        "@id": application["id"],
        "@type": "ib1:Application",
        "dcterms:title": application["title"],
        "dcterms:description": application["description"],
        "dcterms:publisher": {"@id": application["publisher"]},
        "ib1:scheme": {"@id": application["scheme"]},
        "ib1:role": _links(application["role"]),
        "ib1:homePageURL": {"@id": application["homePageURL"]},
    }
    if "messageDelivery" in application:
        document["ib1:messageDelivery"] = {"@id": application["messageDelivery"]}
    return document


def _service_in_rdf(service: dict[str, Any]) -> dict[str, Any]:
    return {
        "@context": _CONTEXT,
        "@id": service["id"],
        "@type": "dcat:DataService",
        "dcterms:title": service["title"],
        "dcterms:publisher": {"@id": service["publisher"]},
        "dcterms:conformsTo": {"@id": service["conformsTo"]},
        "dcat:endpointURL": {"@id": service["endpointURL"]},
        "ib1:oauthIssuer": {"@id": service["oauthIssuer"]},
    }


def _unknown() -> Response:
    return refused(404, "not_found", "The Directory of this sandbox has nothing under that URL.")
