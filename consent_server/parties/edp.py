"""An energy data provider: CAPs ask it for consumption data; the SME identifies itself by its meters."""

from collections.abc import Collection, Sequence

from consent_server import store
from consent_server.deployment import Door, Party, Routes, current
from consent_server.issuer import views as issuer
from consent_server.journey import steps
from consent_server.journey import text as permission_texts
from consent_server.journey.views import evidence, journey, manage, receipt
from consent_server.metering import sources
from consent_server.resource import views as resource
from consent_server.scheme.permission_text import ShownText
from consent_server.settings import Settings
from consent_server.status import views as status
from consent_server.store.tables.journeys import Journey
from consent_server.store.tables.permissions import Permission


class Edp(Party):
    openapi = {  # noqa: RUF012 - the base class declares it
        "public": ("issuer-public", "service"),
        "mutual_tls": ("issuer", "consumption-data", "meters", "service"),
    }

    def __init__(self, settings: Settings) -> None:
        """Raise BadSettings for a plug-in that cannot be loaded."""
        sources.register_of(settings.metering)
        sources.readings_of(settings.metering)
        steps.ways_of(settings.journey)

    def asking_roles(self, settings: Settings) -> tuple[str, ...]:
        return settings.scheme.cap_roles

    def blueprints(self, door: Door) -> Routes:
        if door == "public":
            return issuer.public, journey.routes, evidence.routes, receipt.routes, manage.routes, status.routes
        return issuer.mutual_tls, resource.energy

    def text(self, asked: Journey, connected: Sequence[str]) -> ShownText:
        """Return the text with us as the EDP, the client's member as the CAP, and the bank that the CAP named as the FSP."""
        here = current()
        cap = here.member_of(asked.client_id).url
        return permission_texts.shown(asked.license, edps=[here.settings.member.url], cap=cap, fsp=asked.fsp)

    def supports(self, c: store.Connection, sme: str, named_connections: Collection[str]) -> Sequence[str]:
        return ()

    def data_available_from(self, permission: Permission) -> int:
        """Return the first half-hour of the permission's meters that we hold and that is the business's; else its grant."""
        meters = [meter["id"] for meter in permission.meters if meter["fuel"] in permission.fuels]
        tenancies = sources.register().tenancies(permission.sme, meters)
        begin = sources.readings().begin(tenancies.keys())
        # Readings from after the business had left the meter are not its own.
        starts = (tenancies[meter].clamp(start, permission.expires) for meter, start in begin.items())
        return min((start for start, end in starts if start < end), default=permission.granted)
