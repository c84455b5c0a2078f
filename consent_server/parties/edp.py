"""An energy data provider: CAPs ask it for consumption data; the SME identifies itself by its meters."""

from functools import partial
from typing import Any

from consent_server import store
from consent_server.issuer.views import mutual_tls_door, public_door
from consent_server.journey import steps
from consent_server.journey.parts import Management, ShownText
from consent_server.journey.views import blueprints as journey_pages
from consent_server.metering import synthetic
from consent_server.metering.readings import asked_of, find, readings_source, with_scenarios
from consent_server.metering.register import register
from consent_server.parties import grants
from consent_server.parties.foundation import Foundation
from consent_server.parties.party import Party
from consent_server.resource.parts import EnergyParts
from consent_server.resource.views import energy
from consent_server.settings import Settings
from consent_server.store import readings
from consent_server.web.openapi import blueprint as openapi


def assemble(settings: Settings) -> Party:
    """The EDP that the settings describe."""
    base = Foundation(settings)
    asks = settings.scheme.cap_roles
    issuer, journey = grants.issuer_and_journey(
        base,
        asks=asks,
        steps=steps.EDP_STEPS,
        text_for=partial(_text_for, base),
        rests_on=lambda _connection, _sme: (),
        data_available_from=_data_available_from,
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
