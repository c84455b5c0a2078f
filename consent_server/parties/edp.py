"""An energy data provider: CAPs ask it for consumption data; the SME identifies itself by its meters."""

from functools import partial
from typing import Any

from consent_server import store
from consent_server.issuer.parts import IssuerParts
from consent_server.issuer.views import mutual_tls_door, public_door
from consent_server.journey import steps
from consent_server.journey.parts import JourneyParts, Management, ShownText
from consent_server.journey.views import blueprints as journey_pages
from consent_server.metering import synthetic
from consent_server.metering.readings import asked_of, find, readings_source, with_scenarios
from consent_server.metering.register import register
from consent_server.parties import grants
from consent_server.parties.foundation import Foundation
from consent_server.parties.party import Party
from consent_server.release.parts import EnergyParts
from consent_server.release.views import energy
from consent_server.settings import Settings
from consent_server.store import readings
from consent_server.web.openapi import blueprint as openapi


def assemble(settings: Settings) -> Party:
    """The EDP that the settings describe."""
    base = Foundation(settings)
    asks = settings.scheme.cap_roles
    issuer = IssuerParts(
        settings=settings,
        roles_required=asks,
        licenses=base.licenses,
        resource=settings.mutual_tls.origin,
        signing_keys=base.signing_keys,
        refresh_keys=base.refresh_keys,
        caller=base.caller,
        start_journey=lambda journey_id, secret: grants.start(journey, journey_id, secret),
        rests_on=lambda _connection, _sme: (),
        data_available_from=_data_available_from,
    )
    journey = JourneyParts(
        party="edp",
        origin=settings.public.origin,
        idle_s=settings.lifetimes.journey_idle,
        life_s=settings.lifetimes.journey,
        steps=steps.EDP_STEPS,
        storage=base.storage(),
        limits=base.limits(),
        text_for=partial(_text_for, base),
        client=base.asker,
        conclude=partial(grants.conclude, issuer),
        decline=partial(grants.decline, issuer),
        again=partial(grants.again, issuer),
        evidence=base.evidence,
        identify=register(settings.metering.register_source),
        management=Management(
            sessions=base.sessions("manage"), permissions_of=base.grants_of, withdraw=grants.withdraw_own
        ),
    )
    source = asked_of(readings_source(settings.metering.readings_source))
    release = EnergyParts(
        guard=base.guard(asks),
        caller=base.caller,
        source=find,
        readings=with_scenarios(source) if settings.sandbox.scenarios else source,
        signer=base.signer,
        registry=settings.scheme.registry,
        service=settings.member.data_service,
    )
    return Party(
        brand=base.brand,
        public=(public_door(issuer), *journey_pages(journey), openapi("issuer-public", "service")),
        mutual_tls=(mutual_tls_door(issuer), energy(release), openapi("issuer", "consumption-data", "service")),
        ready=base.ready(),
        jobs=base.common_jobs(),
    )


def _text_for(base: Foundation, license_url: str, client_id: str, _sme: str) -> ShownText:
    """The license's text for one client: we are the EDP, the client's member is the CAP."""
    return base.texts.shown(license_url, edps=[base.settings.member.url], cap=base.member_of(client_id))


def _data_available_from(permission: Any) -> int:
    """The first half-hour that we hold of the permission's meters; its own grant where we hold none yet."""
    with store.reading() as c:
        held = [
            readings.extent(c, synthetic.HOLDER, meter["id"], measure)
            for meter in permission.meters
            for measure in meter["measures"]
        ]
    return int(min((extent[0] for extent in held if extent is not None), default=permission.granted))
