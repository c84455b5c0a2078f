"""A carbon accounting provider: an SME's portal, a client of EDPs, and an issuer of its own for FSPs."""

from collections.abc import Collection, Sequence

from consent_server import clock, store
from consent_server.collect import report
from consent_server.deployment import Door, Party, Routes, current
from consent_server.issuer import views as issuer
from consent_server.issuer.decision import TextIsNotTheLicense
from consent_server.journey import text as permission_texts
from consent_server.journey.views import evidence, journey, receipt
from consent_server.portal.views import connect, download, forecast, passkeys, permissions, result, share, sign_in
from consent_server.resource import views as resource
from consent_server.scheme.licenses import COMBINED
from consent_server.scheme.permission_text import ShownText
from consent_server.settings import BadSettings, Settings
from consent_server.status import views as status
from consent_server.store import connections
from consent_server.store.tables.journeys import Journey
from consent_server.store.tables.permissions import Permission
from consent_server.withdrawal import views as inbox


class Cap(Party):
    openapi = {  # noqa: RUF012 - the base class declares it
        "public": ("issuer-public", "service"),
        "mutual_tls": ("issuer", "emissions-data", "messages", "service"),
    }

    def __init__(self, settings: Settings) -> None:
        if settings.collection.license is None:
            raise BadSettings("collection.license: a CAP must say which license it asks energy data providers for")
        combined = settings.collection.combined_license
        if combined is not None and (combined.label != COMBINED or combined not in settings.scheme.licenses):
            raise BadSettings(f"collection.combined_license: it must be {COMBINED}, as scheme.licenses has it")

    def asking_roles(self, settings: Settings) -> tuple[str, ...]:
        return settings.scheme.fsp_roles

    def blueprints(self, door: Door) -> Routes:
        if door == "public":
            portal = (
                sign_in.routes, result.routes, download.routes, forecast.routes, connect.routes, permissions.routes,
                passkeys.routes, share.routes,
            )  # fmt: skip
            return issuer.public, journey.routes, evidence.routes, receipt.routes, status.routes, *portal
        return issuer.mutual_tls, resource.emissions, inbox.routes

    def text(self, asked: Journey, connected: Sequence[str]) -> ShownText:
        """Return the text with us as the CAP, the client's member as the FSP, and the EDPs that the SME has connected."""
        here = current()
        fsp = here.member_of(asked.client_id).url
        return permission_texts.shown(asked.license, edps=connected, cap=here.settings.member.url, fsp=fsp)

    def supports(self, c: store.Connection, sme: str, named_connections: Collection[str]) -> Sequence[str]:
        live = [row.id for row in connections.live(c, sme, clock.now()) if row.id in named_connections]
        if not live:
            # Perseus policy data-license: the text names the providers; the last one was disconnected since it was shown
            raise TextIsNotTheLicense("no connection is live any more")
        return live

    def data_available_from(self, permission: Permission) -> int:
        """Return the first month of the SME's emissions that we hold or, before a collection, that we ask its EDPs for."""
        end = permission.expires if permission.ended is None else permission.ended
        at = min(clock.now(), end)
        with store.reading() as c:
            of = report.resting_on(c, permission)
            return report.available_from(c, permission.sme, permission.fuels, at, of)
