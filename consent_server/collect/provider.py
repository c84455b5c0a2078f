"""The provider behind one connection: its access token, its entry in the catalogue, its permission record."""

from typing import Final

from consent_server import clock, store
from consent_server.caller.membership import may_act
from consent_server.deployment import current
from consent_server.outbound.data import ConsumptionData
from consent_server.outbound.directory import DataService
from consent_server.outbound.errors import BadAnswer, OAuthRefused, Unreachable
from consent_server.outbound.upstream import PermissionRecord
from consent_server.store import connections
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.web.language import N_
from consent_server.withdrawal.withdraw import Withdrawal, withdraw

UNREACHABLE: Final = N_("The provider could not be reached.")
WRONG: Final = N_(
    "We cannot use the provider's answer, and only the provider can put that right. If this goes on, please tell us."
)
REFUSED: Final = N_("The provider no longer accepts our permission.")
LAPSED: Final = N_("The provider may not act in the scheme just now, so nothing is collected from it.")


class MayNotAct(Unreachable):
    """The provider's membership, or its agreement with the scheme, is not in force."""


def trouble(fault: Unreachable) -> str:
    """Return what the SME reads of a fault; it is translated where it is shown."""
    if isinstance(fault, OAuthRefused):
        return REFUSED
    if isinstance(fault, MayNotAct):
        return LAPSED
    return WRONG if fault.is_wrong else UNREACHABLE


def access_token(connection: ProviderConnection) -> str:
    """Return a new access token. Raise OAuthRefused (invalid_grant: the permission has ended) and Unreachable.

    A refresh token in the response is kept before anything else in it is judged.
    A refresh token that replaces ours must be new: a withdrawal names a permission by it, and must not end another's.
    """
    here = current()
    held = here.sealer.unseal(connection.refresh_sealed)
    tokens = here.upstream.refresh(here.upstream.metadata(connection.issuer), connection.license, held)
    if tokens.refresh_token is not None and tokens.refresh_token != held:
        # FAPI 2.0 section 5.3.3.1: an issuer may rotate, and then the newest refresh token is the one that works
        sealed, mac = here.sealer.seal(tokens.refresh_token), here.sealer.mac(tokens.refresh_token)
        with store.writing() as c:
            kept = connections.reseal(c, connection, sealed, mac)
            owner = connections.by_refresh_mac(c, mac)
        if not kept and owner is not None and owner.id != connection.id:
            raise BadAnswer("the refresh token of another permission", connection.issuer)
    return tokens.access_token


def service_of(connection: ProviderConnection) -> DataService:
    """Return the catalogue's entry of the connection's resource. Raise Unreachable, and MayNotAct of a provider that has left.

    A member writes its entries itself: an id counts only in the entry of the member that the SME chose.
    """
    here = current()
    listed = here.directory.data_services(here.settings.scheme.consumption_standard)
    chosen = (connection.resource, connection.member)
    found = next((each for each in listed if (each.id, each.member) == chosen), None)
    if found is None:
        raise Unreachable("not in the catalogue", "directory")
    member = here.directory.member(connection.member)
    if not (member.membership_ok and may_act(member, here.settings.scheme.edp_roles, here.settings, clock.now())):
        # Perseus Scheme Agreement: who may act in the scheme, and until when
        raise MayNotAct("no membership or agreement in force", connection.member)
    return found


def consumption_data(service: DataService) -> ConsumptionData:
    """Return a client of a consumption API, for one collection."""
    return ConsumptionData(current().session, service.endpoint)


def permission_record(connection: ProviderConnection) -> PermissionRecord:
    """Return what the issuer has on record of the connection's permission. Raise OAuthRefused, Unreachable."""
    here = current()
    token = here.sealer.unseal(connection.refresh_sealed)
    return here.upstream.permission_record(here.upstream.metadata(connection.issuer), token)


def end_if_revoked(connection: ProviderConnection) -> None:
    """End a connection whose permission record says that it was withdrawn: its withdrawal message was lost."""
    try:
        record = permission_record(connection)
    except (OAuthRefused, Unreachable):
        return
    if record.revoked:
        end_as_recorded(connection)


def end_as_recorded(connection: ProviderConnection) -> None:
    """End a connection, with its data and all that rests on it, as the record of its issuer says."""
    issuer = connection.issuer
    withdraw(connection.id, Withdrawal("sme", issuer, "the record says so", already_told=issuer))
