"""Our entry in the Directory's data catalogue (IB1 Data Catalog Records): what the settings say, checked at the doors."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from consent_server.deployment import Deployment
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.session import Session
from consent_server.parties.operator.doctor.finding import Finding, either, failing, fine
from consent_server.parties.operator.records import CommandFailed
from consent_server.settings import Settings

_CONTEXT: Final = {
    "dcat": "http://www.w3.org/ns/dcat#",
    "dcterms": "http://purl.org/dc/terms/",
    "ib1": "https://registry.trust.ib1.org/ns/1.0#",
}


def entry(settings: Settings) -> dict[str, Any]:
    """Return the dcat:DataService of this party as JSON-LD. Raise CommandFailed naming the settings that are missing."""
    catalogue, scheme = settings.catalogue, settings.scheme
    needed = {
        "member.data_service": settings.member.data_service,
        "catalogue.title": catalogue.title,
        "catalogue.endpoint_description": catalogue.endpoint_description,
        "catalogue.heartbeat_description": catalogue.heartbeat_description,
    }
    if missing := [name for name, value in needed.items() if not value]:
        raise CommandFailed(f"set {', '.join(missing)}; docs/settings.md says what each one means")
    edp = settings.party == "edp"
    standard = scheme.consumption_standard if edp else scheme.emissions_standard
    return {
        "@context": _CONTEXT,
        "@id": settings.member.data_service,
        "@type": "dcat:DataService",
        "dcterms:title": {"@value": catalogue.title, "@language": "en"},
        "dcterms:publisher": _link(settings.member.url),
        "dcterms:conformsTo": _link(standard),
        "dcterms:license": [_link(license_.url) for license_ in scheme.licenses],
        "dcat:endpointURL": _link(settings.mutual_tls.origin),
        "dcat:endpointDescription": _link(catalogue.endpoint_description),
        "ib1:heartbeatDescription": _link(catalogue.heartbeat_description),
        "ib1:trustFramework": _link(scheme.trust_framework),
        "ib1:scheme": _link(standard.partition("/standard/")[0]),
        "ib1:datasetAssurance": _link(f"ib1:AssuranceLevel{catalogue.assurance_level}"),
        "ib1:sensitivityClass": _link(catalogue.sensitivity_class),
        "ib1:oauthIssuer": _link(settings.issuer),
        "ib1:roleRequiredToAccess": [_link(role) for role in (scheme.cap_roles if edp else scheme.fsp_roles)],
    }


def check(deployment: Deployment) -> Iterator[Finding]:
    """Yield whether our doors answer as the entry says."""
    settings = deployment.settings
    try:
        # The client refuses metadata whose issuer is another (RFC 8414 section 3.3).
        deployment.upstream.metadata(settings.issuer)
        yield fine(f"oauthIssuer: {settings.issuer} serves its metadata")
    except Unreachable as error:
        yield failing(f"oauthIssuer: {settings.issuer}: {error.explained}", "open the public door, and look at issuer")
    yield from heartbeat(settings, deployment.session)


def heartbeat(settings: Settings, session: Session) -> Iterator[Finding]:
    """Yield whether our mutual-TLS door answers our own client certificate, which `session` sends."""
    url = f"{settings.mutual_tls.origin}/heartbeat"
    try:
        answer = session.get(url)
        yield either(
            answer.status == 200 and answer.object().get("status") == "ok",
            f"heartbeat: {url} answers",
            "503 is also the answer while an incident or downtime of `data` is announced (`status list`); otherwise "
            "look at the door's log: our own certificate must be one of a member in good standing",
            f"heartbeat: {url} answers {answer.status}",
        )
    except Unreachable as error:
        host = urlsplit(url).hostname
        yield failing(
            f"heartbeat: {url}: {error.explained}", f"open the mutual-TLS door; {host} must be on the server allowlist"
        )


def _link(url: str) -> dict[str, str]:
    return {"@id": url}
