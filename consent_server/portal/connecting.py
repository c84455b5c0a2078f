"""Connect an SME's account to an energy data provider: push, send the browser there, redeem, keep what we were given.

What the SME agreed to here is kept (evidence) before the request is pushed. A connection under way is `Pending`: the
session holds it under its `state`, and takes it out when the browser is back, so that it is used once.
"""

import logging
from dataclasses import dataclass, replace

from consent_server import audit, clock, store
from consent_server.accounts import business
from consent_server.deployment import current
from consent_server.journey import text as permission_texts
from consent_server.outbound.errors import CallbackRefused, OAuthRefused, Unreachable
from consent_server.outbound.upstream import Metadata
from consent_server.portal import providers
from consent_server.portal.providers import Provider, ProviderSlow, no_use
from consent_server.receipts import mails
from consent_server.refusal import Refusal
from consent_server.scheme import licenses
from consent_server.scheme.changes import Change, Terms, change
from consent_server.scheme.permission import Act
from consent_server.scheme.permission_text import ShownText, names_fuel, question_digest
from consent_server.scheme.summary import Summary
from consent_server.settings.scheme import LicenseSettings
from consent_server.store import accounts, audit_events, connections, evidence, links, locks, outbox, permissions
from consent_server.store.digests import new_id, new_secret
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Evidence
from consent_server.store.tables.sessions import Pending
from consent_server.withdrawal.withdraw import Withdrawal, withdraw_in

log = logging.getLogger("consent_server.portal")


class ReturnNotOurs(Refusal):
    code = "return_not_ours"
    public = "You came back from the provider in a way that does not belong to this visit. Start connecting again."
    help = (
        "Start connecting again from your account, and use the same browser until you are back. You have half an "
        "hour, and can come back once."
    )
    clause = "FAPI 2.0 SP 5.3.3.2; RFC 9207 2.4"


class ProviderRefused(Refusal):
    code = "provider_refused"
    status = 502
    public = "The energy data provider did not accept our request. Nothing was connected. Start connecting again."
    help = (
        "Start connecting again. If it happens twice, tell us the correlation id: our log gives the provider's reason."
    )
    clause = "RFC 6749 4.1.2.1 and 5.2"


class ProviderRepeatedToken(Refusal):
    """Withdrawal messages name a permission by its refresh token: one that two share would end the wrong one."""

    code = "provider_repeated_token"
    status = 502
    public = (
        "The energy data provider gave us a refresh token that it had given for another permission. Nothing was "
        "connected, and the other permission is as it was."
    )
    help = (
        "This is a fault of the provider: each permission needs its own refresh token. Tell the provider, and start "
        "connecting again once it is corrected. What you allowed there can be withdrawn at the provider."
    )
    clause = "Withdrawal of Permission, Message Delivery"


class Declined(Exception):
    """The SME declined at the provider: this is no error, and nothing was connected."""


@dataclass(frozen=True)
class Visitor:
    """Who agrees: the account, how it signed in, and where from."""

    account: SmeAccount
    by_passkey: bool
    address: str
    user_agent: str


def asked_license() -> LicenseSettings:
    """Return the license that we ask providers for."""
    asked = current().settings.collection.license
    assert asked is not None  # parties.cap
    return asked


@dataclass(frozen=True)
class ConnectionTerms:
    """Under which license a provider is connected; `bank` is the member URL of the bank that its text names, if it names one.

    `fsp` is that of the bank that sent the SME, whatever the license.
    """

    license: LicenseSettings
    fsp: str | None
    bank: str | None = None


def terms_for(account: SmeAccount, provider: Provider, invited_by: str | None) -> ConnectionTerms:
    """Return the terms for a provider. A live connection to it keeps its own: renewing it names no other bank.

    Another bank then asks for a permission of its own.
    """
    combined = current().settings.collection.combined_license
    if combined is not None:
        with store.reading() as c:
            live = connections.live(c, account.id, clock.now())
        before = next((row for row in live if row.member == provider.member), None)
        named = invited_by if before is None else before.fsp if before.license == combined.url else None
        if providers.bank(named) is not None:
            return ConnectionTerms(combined, named, named)
    return ConnectionTerms(asked_license(), invited_by)


def text_for(provider: Provider, terms: ConnectionTerms) -> ShownText:
    """Return the permission text that an SME reads here before it connects a provider. Raise as `journey.text.shown`."""
    cap = current().settings.member.url
    return permission_texts.shown(terms.license.url, edps=[provider.member], cap=cap, fsp=terms.bank)


def destination(provider: Provider) -> str:
    """Return the address that the SME is sent to: the issuer's authorization endpoint.

    Raise ProviderWrong, and ProviderUnreachable, of which ProviderSlow is for one that has taken too long for a page.
    """
    try:
        return current().upstream.metadata(provider.issuer).authorization_endpoint
    except Unreachable as error:
        raise (ProviderSlow(str(error)) if error.kind == "time" else no_use(error)) from None


def question(account: SmeAccount, provider: Provider, terms: ConnectionTerms, text: ShownText) -> str:
    """Return the digest of everything that an agreement would cover."""
    facts = (account.id, account.business, provider.service, provider.member, provider.issuer, terms.bank or "")
    return question_digest(text, terms.license.url, *facts)


def change_of(account: str, provider: Provider, asked: Summary) -> Change | None:
    """Return what an agreement would change of the connection that it would replace; None where there is none.

    Which meters it is about is chosen at the provider.
    """
    issuer = provider.issuer.rstrip("/")
    with store.reading() as c:
        live = connections.live(c, account, clock.now())
        old = next((row for row in live if (row.issuer.rstrip("/"), row.member) == (issuer, provider.member)), None)
        seen = evidence.of_subject(c, old.id) if old is not None else None
    if old is None or seen is None:
        return None
    # The older license need not be configured any more: what was read then says what it covers.
    fuels = [fuel for fuel in asked.fuels if names_fuel(seen.text_shown, fuel)]
    return change(
        Terms(fuels, old.expires, bank="FSP" in seen.names),
        Terms(asked.fuels, asked.until, bank=asked.bank is not None),
    )


def begin(provider: Provider, text: ShownText, visitor: Visitor, terms: ConnectionTerms) -> tuple[str, Pending]:
    """Keep what was agreed to, then push the request; return where to send the browser, and what its session must hold.

    Raise ProviderUnreachable, ProviderWrong, ProviderRefused.
    """
    here = current()
    connection = new_id()
    # Kept first: the pushed request states to the provider that we have this permission.
    _keep_evidence(connection, provider, text, visitor, terms)
    told = {"permission_text_sha256": text.raw_sha256, **({"fsp": terms.bank} if terms.bank else {})}
    try:
        metadata = here.upstream.metadata(provider.issuer)
        pushed = here.upstream.push(metadata, terms.license.url, _redirect_uri(), told)
    except OAuthRefused as refused:
        raise ProviderRefused(str(refused)) from None
    except Unreachable as error:
        raise no_use(error) from None
    pending: Pending = {
        "id": connection,
        "account": visitor.account.id,
        # By the issuer's own name: the catalogue may have it with a slash at its end, or without.
        "provider": replace(provider, issuer=metadata.issuer).chosen(),
        "state": pushed.state,
        "verifier": here.sealer.seal(pushed.code_verifier).hex(),
        "fsp": terms.fsp,
        "license": terms.license.url,
    }
    return pushed.authorization_url, pending


def finish(pending: Pending, query: str) -> None:
    """Redeem what came back and keep the connection.

    The provider has granted once it has answered: a refresh token that cannot be used is given back to it, but for one that is
    another connection's. So is that of a business which was erased meanwhile: nothing here may name it again.

    Raise Declined, ReturnNotOurs, ProviderRefused, ProviderRepeatedToken, ProviderUnreachable, ProviderWrong.
    """
    here = current()
    provider = Provider(**pending["provider"])
    verifier = here.sealer.unseal(bytes.fromhex(pending["verifier"]))
    try:
        code = here.upstream.callback(provider.issuer, query, pending["state"])
        metadata = here.upstream.metadata(provider.issuer)
        tokens = here.upstream.redeem(metadata, _redirect_uri(), _asked_in(pending).url, code, verifier)
    except CallbackRefused as refused:
        raise ReturnNotOurs(str(refused)) from None
    except OAuthRefused as refused:
        if refused.error == "access_denied":
            raise Declined from None
        raise ProviderRefused(str(refused)) from None
    except Unreachable as error:
        raise no_use(error) from None
    if tokens.refresh_token is not None and not _keep(pending, provider, tokens.refresh_token, tokens.fault):
        _give_back(metadata, tokens.refresh_token)
        raise ReturnNotOurs("the business was erased since it agreed")
    if tokens.fault is not None:
        raise no_use(tokens.fault)


def _asked_in(pending: Pending) -> LicenseSettings:
    combined = current().settings.collection.combined_license
    return combined if combined is not None and pending.get("license") == combined.url else asked_license()


def _redirect_uri() -> str:
    return f"{current().settings.public.origin}/callback"


def _keep_evidence(
    connection: str, provider: Provider, text: ShownText, visitor: Visitor, terms: ConnectionTerms
) -> None:
    kept = Evidence(
        id=new_secret(),
        subject=connection,
        at=clock.now(),
        license=terms.license.url,
        text_shown=text.text,
        shown_sha256=text.shown_sha256,
        raw_sha256=text.raw_sha256,
        client_id=provider.application or provider.member,
        names={**text.names, "client": provider.legal_name, "license": text.title},
        who={**business.who(visitor.account, by_passkey=visitor.by_passkey), "account": visitor.account.id},
        meters=[],
        address=visitor.address,
        user_agent=visitor.user_agent,
        correlation_id=audit.correlation_id.get(),
    )
    with store.writing() as c:
        if accounts.hold(c, visitor.account.id) is None:
            raise ReturnNotOurs("the account was erased since this request began")
        evidence.add(c, kept)


def _give_back(metadata: Metadata, refresh_token: str) -> None:
    """Revoke a token that is kept nowhere, once. Its provider keeps a permission that nobody can use where that fails."""
    try:
        current().upstream.revoke(metadata, refresh_token)
    except Unreachable as error:
        log.warning("%s: a token that is kept nowhere was not given back (%s)", metadata.issuer, error)


def _keep(pending: Pending, provider: Provider, refresh_token: str, fault: Unreachable | None) -> bool:
    """Keep a new connection; one with a fault ends at once, with the revocation of its token owed to the issuer.

    Return False, and keep nothing, where an erasure has deleted what the business agreed to.
    """
    here, at, asked = current(), clock.now(), _asked_in(pending)
    new = ProviderConnection(
        id=pending["id"],
        account=pending["account"],
        issuer=provider.issuer,
        resource=provider.service,
        member=provider.member,
        application=provider.application,
        license=asked.url,
        fsp=pending["fsp"],
        refresh_sealed=here.sealer.seal(refresh_token),
        refresh_mac=here.sealer.mac(refresh_token),
        granted=at,
        expires=licenses.expiry(asked.duration, at),
        collect_due=at,
    )
    with store.writing() as c:
        locks.lock_business(c, pending["account"])
        if evidence.of_subject(c, new.id) is None:
            return False
        if fault is not None:
            connections.add(c, new)
            withdraw_in(c, new.id, Withdrawal("cap", "portal", f"its tokens cannot be used: {fault.kind}"), at)
            return True
        live = connections.live(c, pending["account"], at)
        older = [row for row in live if (row.issuer, row.member) == (provider.issuer, provider.member)]
        if not connections.add(c, new):
            raise ProviderRepeatedToken(provider.issuer)
        for row in older:
            _supersede(c, row, pending["id"], at)
        if new.license != asked_license().url:
            _rest_on(c, new, at)
        mails.owe(c, new.id, new.account, mails.Kind.RENEWED if older else mails.Kind.GRANTED, at)
        event = audit.event("connection_made", connection=pending["id"], issuer=provider.issuer, license=asked.url)
        audit_events.keep(c, event)
    return True


def _rest_on(c: store.Connection, new: ProviderConnection, at: int) -> None:
    """Let what the bank of a combined permission holds under that license rest on the new connection as well."""
    for held in permissions.of_sme(c, new.account):
        if (held.member, held.license) == (new.fsp, new.license) and held.is_live(at):
            links.add(c, new.id, held.id)


def _supersede(c: store.Connection, row: ProviderConnection, by: str, at: int) -> None:
    """Move what rested on the old connection to the new one, and give the old token back.

    The issuer should have ended the older grant when it redeemed the new one. The revocation ends it where it has not,
    and gets the same response where it has (RFC 7009 2.2).
    """
    why = f"renewed by {by}"
    if not connections.end(c, row, Act.SUPERSEDE, at=at, by="sme", why=why):
        return  # withdrawn meanwhile, with all that rested on it
    for dependent in links.dependents(c, row.id):
        links.add(c, by, dependent)
    connections.forget_data(c, row.id)
    outbox.add(c, kind="revocation", subject=row.id, recipient=row.issuer, at=at)
    audit_events.keep(c, audit.event("connection_ended", connection=row.id, by="sme", why=why))
