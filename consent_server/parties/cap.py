"""A carbon accounting provider: an SME's portal, a client of EDPs, and an issuer of its own for FSPs."""

import json
from functools import partial
from typing import Any

from consent_server import clock, store
from consent_server.collect import report
from consent_server.collect.gather import CollectParts, collect_due
from consent_server.issuer.views import mutual_tls_door, public_door
from consent_server.jobs.work import Job
from consent_server.journey import steps
from consent_server.journey.parts import Accounts as JourneyAccounts
from consent_server.journey.parts import ShownText
from consent_server.journey.views import blueprints as journey_pages
from consent_server.outbound.directory import DataService
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.outbound.intensity import Intensity
from consent_server.parties import grants
from consent_server.parties.foundation import Foundation
from consent_server.parties.party import Party
from consent_server.portal import standing
from consent_server.portal.accounts import Accounts
from consent_server.portal.parts import PortalParts
from consent_server.portal.views import blueprint as portal_pages
from consent_server.resource.guard import Release
from consent_server.resource.parts import EmissionsParts, Report
from consent_server.resource.views import emissions
from consent_server.scheme import licenses
from consent_server.scheme.provenance.steps import Grant, trust_framework_url
from consent_server.settings import BadSettings, Settings
from consent_server.store import connections, permissions
from consent_server.web.openapi import blueprint as openapi
from consent_server.withdrawal.inbox import InboxParts
from consent_server.withdrawal.views import blueprint as inbox_routes
from consent_server.withdrawal.withdraw import Withdrawal, withdraw


def assemble(settings: Settings) -> Party:
    """The CAP that the settings describe."""
    base = Foundation(settings)
    asks = settings.scheme.fsp_roles
    accounts = _accounts(base)
    issuer, journey = grants.issuer_and_journey(
        base,
        asks=asks,
        steps=steps.CAP_STEPS,
        text_for=partial(_text_for, base),
        rests_on=_live_connections,
        data_available_from=lambda permission: int(permission.granted),
        accounts=JourneyAccounts(
            send_code=accounts.send_code_if_known,
            check_code=accounts.check_code,
            is_connected=standing.is_connected,
            connect_url="/connect",
        ),
    )
    release = EmissionsParts(guard=base.guard(asks), caller=base.caller, months=partial(_months, base))
    inbox = InboxParts(
        caller=base.caller,
        senders=settings.scheme.edp_roles,
        subjects=settings.scheme.withdrawal_subjects,
        mac=base.sealer.mac,
    )
    collect = Job("collect", settings.jobs.collect_s, partial(collect_due, _collecting(base)))
    return Party(
        brand=base.brand,
        public=(
            public_door(issuer),
            *journey_pages(journey),
            portal_pages(_portal(base, accounts)),
            openapi("issuer-public", "service"),
        ),
        mutual_tls=(
            mutual_tls_door(issuer),
            emissions(release),
            inbox_routes(inbox),
            openapi("issuer", "emissions-data", "messages", "service"),
        ),
        ready=base.ready(),
        jobs=(*base.common_jobs(), collect),
    )


# the portal


def _accounts(base: Foundation) -> Accounts:
    settings = base.settings
    fixed = settings.sandbox.fixed_codes
    return Accounts(
        sealer=base.sealer,
        mail=base.mail,
        life_s=settings.lifetimes.sign_in_code,
        brand=base.brand,
        fixed=json.loads(fixed.read_text(encoding="utf-8")) if fixed else {},
    )


def _portal(base: Foundation, accounts: Accounts) -> PortalParts:
    settings = base.settings
    asked = settings.collection.license
    if asked is None:
        raise BadSettings("collection.license: a CAP must say which license it asks energy data providers for")
    return PortalParts(
        origin=settings.public.origin,
        license=asked.url,
        expires=partial(licenses.expiry, asked.duration),
        standard=settings.scheme.consumption_standard,
        edp_roles=settings.scheme.edp_roles,
        fsp_roles=settings.scheme.fsp_roles,
        text_for=lambda edp: base.texts.shown(asked.url, edps=[edp], cap=settings.member.url),
        accounts=accounts,
        sessions=base.sessions("portal"),
        mails=base.limit("mail", settings.limits.sign_in_per_account),
        codes=base.codes(),
        addresses=base.limit("sign-in", settings.limits.identify_per_address),
        directory=base.directory,
        upstream=base.upstream,
        sealer=base.sealer,
    )


# the client of EDPs


def _collecting(base: Foundation) -> CollectParts:
    settings = base.settings
    intensity = Intensity(settings, base.session, base.cache, pause_s=0 if settings.is_sandbox else 0.2)

    def access_token(connection: Any) -> str:
        held = base.sealer.unseal(connection.refresh_sealed)
        metadata = base.upstream.metadata(connection.issuer)
        tokens = base.upstream.refresh(metadata, connection.license, held)
        if tokens.refresh_token is not None and tokens.refresh_token != held:
            # FAPI 2.0 5.3.3.1: an issuer may rotate, and then the newest refresh token is the one that works
            sealed, mac = base.sealer.seal(tokens.refresh_token), base.sealer.mac(tokens.refresh_token)
            with store.writing() as c:
                connections.reseal(c, connection.id, sealed, mac)
        return tokens.access_token

    def service_of(connection: Any) -> DataService:
        listed = base.directory.data_services(settings.scheme.consumption_standard)
        found = next((each for each in listed if each.id == connection.resource), None)
        if found is None:
            raise Unreachable("not in the catalogue", "directory")
        return found

    def ended(connection: Any) -> None:
        """The issuer refuses the token: when its permission record says withdrawn, the message was lost; act on it."""
        token = base.sealer.unseal(connection.refresh_sealed)
        try:
            record = base.upstream.permission_record(base.upstream.metadata(connection.issuer), token)
        except (OAuthRefused, Unreachable):
            return
        if record.revoked:
            told = Withdrawal(
                by="sme", where=connection.issuer, why="the record says so", already_told=connection.issuer
            )
            withdraw(connection.id, told)

    return CollectParts(
        access_token=access_token,
        service_of=service_of,
        api=base.consumption,
        intensity=lambda start, end, outcode: intensity.series(start, end, outcode=outcode),
        ended=ended,
        signer=base.signer,
        signing_root=base.signing_root,
        registry=settings.scheme.registry,
        trust_framework=trust_framework_url(settings.scheme.registry),
        edp_roles=settings.scheme.edp_roles,
        standard=settings.scheme.consumption_standard,
        months=settings.collection.months,
        retry_s=settings.collection.retry_s,
    )


# the issuer for FSPs, and its data


def _text_for(base: Foundation, license_url: str, client_id: str, sme: str) -> ShownText:
    """The license's text for one client and SME: we are the CAP, the client's member is the FSP, and the text names the
    energy data providers that this SME has connected."""
    with store.reading() as c:
        edps = sorted({row.member for row in connections.live(c, sme, clock.now())})
    return base.texts.shown(license_url, edps=edps, cap=base.settings.member.url, fsp=base.member_of(client_id))


def _live_connections(c: Any, sme: str) -> list[str]:
    return [row.id for row in connections.live(c, sme, clock.now())]


def _months(base: Foundation, release: Release, start: int, end: int, at: int) -> Report:
    """The months that a release covers, with a record signed for the member behind the caller's certificate."""
    settings, token = base.settings, release.token
    with store.reading() as c:
        permission = permissions.by_status_index(c, token.status_idx)
    assert permission is not None  # the guard has just asked the store about it
    grant = Grant(
        account=token.sub,
        license=token.scope,
        granted=token.permission.granted,
        expires=token.permission.expires,
        fuels=token.fuels,
    )
    try:
        found = report.report(permission.sme, start, end, tuple(fuel for fuel in report.FUELS if fuel in release.fuels))
        record = report.provenance(
            found,
            grant=grant,
            license=token.scope,
            to=release.caller.member,
            service=settings.member.data_service,
            start=start,
            end=end,
            registry=settings.scheme.registry,
            signer=base.signer,
        )
    except report.NothingYet as wait:
        return Report(retry_after=wait.retry_after)
    return Report(months=found.months, provenance=record)
