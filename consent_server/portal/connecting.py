"""Connect an SME's account to an energy data provider: push, send the browser there, redeem, keep what we were given.

What the SME agreed to here is kept before the provider hears of it (evidence). A connection under way is `Pending`: the
session holds it under its `state`, and takes it out when the browser is back, so that it is used once.
"""

import hashlib
import json
import logging
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from consent_server import audit, clock, store
from consent_server.outbound.errors import CallbackRefused, OAuthRefused, Unreachable
from consent_server.portal.parts import PortalParts, ShownText
from consent_server.refusal import Refusal
from consent_server.scheme.permission import Act, State, after
from consent_server.store import audit_events, connections, evidence, links, outbox
from consent_server.store.digests import new_id, new_secret

log = logging.getLogger("consent_server.portal")

METHOD = "Signed in to its account with a code sent by e-mail"
STRENGTH = "Controls the e-mail address of the account"
SUPERSEDED = str(after(State.GRANTED, Act.SUPERSEDE))
LONGEST_USER_AGENT = 300


class ProviderUnreachable(Refusal):
    code = "provider_unreachable"
    error = "temporarily_unavailable"
    status = 503
    public = "The energy data provider cannot be reached just now. Nothing was connected. Try again in a few minutes."
    help = "Try again in a few minutes. If it lasts, tell us the correlation id."
    clause = "RFC 9110 15.6.4"
    headers = {"Retry-After": "60"}  # noqa: RUF012 - the family declares it


class ReturnNotOurs(Refusal):
    code = "return_not_ours"
    public = "You came back from the provider in a way that does not belong to this visit. Start connecting again."
    help = (
        "Start connecting again from your account, and use the same browser until you are back. It must be done within "
        "half an hour, and once."
    )
    clause = "FAPI 2.0 SP 5.3.3.2; RFC 9207 2.4"


class ProviderRefused(Refusal):
    code = "provider_refused"
    status = 502
    public = "The energy data provider did not accept our request. Nothing was connected. Start connecting again."
    help = (
        "Start connecting again. If it happens twice, tell us the correlation id: our log names the provider's reason."
    )
    clause = "RFC 6749 4.1.2.1 and 5.2"


class Declined(Exception):
    """The SME said no at the provider: nothing went wrong, and nothing was connected."""


@dataclass(frozen=True)
class Provider:
    """An energy data provider that can be connected: one entry of the Directory's catalogue, with its member's name."""

    service: str
    member: str
    application: str
    name: str
    legal_name: str
    issuer: str


@dataclass(frozen=True)
class Pending:
    """A connection under way. `id` is the one that it will have; `verifier` is PKCE's, sealed, in hex; `fsp` is the member
    URL of the bank that sent the SME here, if one did."""

    id: str
    account: str
    provider: dict[str, str]
    state: str
    verifier: str
    fsp: str | None


@dataclass(frozen=True)
class Visitor:
    """Who agrees: the account's row, and where from."""

    account: Any
    address: str
    user_agent: str


def providers(parts: PortalParts) -> list[Provider]:
    """The catalogue's providers of consumption data, by name. Raises ProviderUnreachable when the Directory is down."""
    try:
        return sorted(_providers(parts), key=lambda each: (each.name, each.service))
    except Unreachable as error:
        raise ProviderUnreachable(str(error)) from None


def _providers(parts: PortalParts) -> list[Provider]:
    found: list[Provider] = []
    unknown: Unreachable | None = None
    listed = parts.directory.data_services(parts.standard)
    claimed = Counter(issuer for issuer, _ in {(service.issuer, service.member) for service in listed})
    for service in listed:
        if service.issuer is None or service.application is None:
            continue
        if claimed[service.issuer] > 1:
            # An issuer belongs to one member: whoever else lists it wants to be taken for that member.
            log.warning("a provider is left out: %s is claimed by several members", service.issuer)
            continue
        try:
            member = parts.directory.member(service.member)
        except Unreachable as error:
            # One entry that cannot be read is one provider less, and not the end of all the others.
            log.warning("a provider is left out: %s", error)
            unknown = error
            continue
        if set(member.roles) & set(parts.edp_roles) and member.membership_ok:
            found.append(
                Provider(
                    service=service.id,
                    member=service.member,
                    application=service.application,
                    name=member.name,
                    legal_name=member.legal_name,
                    issuer=service.issuer,
                )
            )
    if unknown is not None and not found:
        raise unknown
    return found


def bank(parts: PortalParts, url: str | None) -> str | None:
    """The name of the bank with this member URL; None unless the Directory says that it is one."""
    if url is None:
        return None
    try:
        member = parts.directory.member(url)
    except Unreachable:
        return None
    return member.name if set(member.roles) & set(parts.fsp_roles) and member.membership_ok else None


def destination(parts: PortalParts, provider: Provider) -> str:
    """The address that the SME is sent to: the issuer's authorization endpoint. Raises ProviderUnreachable."""
    try:
        return parts.upstream.metadata(provider.issuer).authorization_endpoint
    except Unreachable as error:
        raise ProviderUnreachable(str(error)) from None


def question(parts: PortalParts, account: Any, provider: Provider, text: ShownText) -> str:
    """The digest of all that decides what is agreed to: it travels in the form and is compared when the answer comes."""
    agreed_to = [
        *(text.shown_sha256, text.raw_sha256, parts.license, account.id, account.business),
        *(provider.service, provider.member, provider.issuer),
    ]
    return hashlib.sha256(json.dumps(agreed_to).encode()).hexdigest()


def begin(
    parts: PortalParts, provider: Provider, text: ShownText, visitor: Visitor, fsp: str | None
) -> tuple[str, Pending]:
    """Keep what was agreed to, then push the request; answers where to send the browser, and what its session must hold.

    Raises ProviderUnreachable, ProviderRefused.
    """
    connection = new_id()
    # Kept first: the pushed request tells the provider that we have this permission (brief 1.2, steps 5 and 6).
    _keep_evidence(parts, connection, provider, text, visitor)
    try:
        pushed = parts.upstream.push(parts.upstream.metadata(provider.issuer), parts.license, parts.redirect_uri)
    except OAuthRefused as refused:
        raise ProviderRefused(str(refused)) from None
    except Unreachable as error:
        raise ProviderUnreachable(str(error)) from None
    pending = Pending(
        id=connection,
        account=visitor.account.id,
        provider=asdict(provider),
        state=pushed.state,
        verifier=parts.sealer.seal(pushed.code_verifier).hex(),
        fsp=fsp,
    )
    return pushed.authorization_url, pending


def _keep_evidence(parts: PortalParts, connection: str, provider: Provider, text: ShownText, visitor: Visitor) -> None:
    names = {**text.names, "client": provider.legal_name, "license": text.title}
    with store.writing() as c:
        evidence.add(
            c,
            id=new_secret(),
            subject=connection,
            at=clock.now(),
            license=parts.license,
            text_shown=text.text,
            shown_sha256=text.shown_sha256,
            raw_sha256=text.raw_sha256,
            client_id=provider.application,
            names=names,
            who={"business": visitor.account.business, "method": METHOD, "strength": STRENGTH},
            meters=[],
            address=visitor.address,
            user_agent=visitor.user_agent[:LONGEST_USER_AGENT],
            correlation_id=audit.correlation_id.get(),
        )


def finish(parts: PortalParts, pending: Pending, query: str) -> str:
    """Redeem what came back and keep the connection; answers its id.

    Raises Declined, ReturnNotOurs, ProviderRefused, ProviderUnreachable.
    """
    provider = Provider(**pending.provider)
    verifier = parts.sealer.unseal(bytes.fromhex(pending.verifier))
    try:
        metadata = parts.upstream.metadata(provider.issuer)
        code = parts.upstream.callback(metadata, query, pending.state)
        tokens = parts.upstream.redeem(metadata, parts.redirect_uri, parts.license, code, verifier)
    except CallbackRefused as refused:
        raise ReturnNotOurs(str(refused)) from None
    except OAuthRefused as refused:
        if refused.error == "access_denied":
            raise Declined from None
        raise ProviderRefused(str(refused)) from None
    except Unreachable as error:
        raise ProviderUnreachable(str(error)) from None
    assert tokens.refresh_token is not None  # `redeem` raises for an answer without one
    _keep(parts, pending, provider, tokens.refresh_token)
    return pending.id


def _keep(parts: PortalParts, pending: Pending, provider: Provider, refresh_token: str) -> None:
    at = clock.now()
    with store.writing() as c:
        older = [
            row
            for row in connections.live(c, pending.account, at)
            if (row.issuer, row.member) == (provider.issuer, provider.member)
        ]
        connections.add(
            c,
            id=pending.id,
            account=pending.account,
            issuer=provider.issuer,
            resource=provider.service,
            member=provider.member,
            application=provider.application,
            license=parts.license,
            fsp=pending.fsp,
            refresh_sealed=parts.sealer.seal(refresh_token),
            refresh_mac=parts.sealer.mac(refresh_token),
            granted=at,
            expires=parts.expires(at),
            collect_due=at,
        )
        for row in older:
            _supersede(c, row, pending.id, at)
        event = audit.event("connection_made", connection=pending.id, issuer=provider.issuer, license=parts.license)
        audit_events.keep(c, event)


def _supersede(c: Any, row: Any, by: str, at: int) -> None:
    """What rested on the old connection rests on the new one, and the old token is given back.

    The issuer ended the older grant when it redeemed the new one; to one that did not, the revocation says so, and one
    that did answers it alike (RFC 7009 2.2).
    """
    why = f"renewed by {by}"
    if not connections.end(c, row.id, at=at, ended_as=SUPERSEDED, by="sme", why=why):
        return  # withdrawn meanwhile, with all that rested on it
    for dependent in links.dependents(c, row.id):
        links.add(c, by, dependent)
    connections.forget_data(c, row.id)
    outbox.add(c, kind="revocation", subject=row.id, recipient=row.issuer, at=at)
    audit_events.keep(c, audit.event("connection_ended", connection=row.id, by="sme", why=why))
