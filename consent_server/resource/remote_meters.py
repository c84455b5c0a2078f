"""The meters that a token covers, for a guard that does not share the issuer's store: asked once for each token."""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from consent_server.outbound.errors import Unreachable
from consent_server.outbound.meters_door import MetersDoor
from consent_server.resource.guard import GrantedMeter, MetersUnknown, PermissionEnded, Release
from consent_server.scheme import instant
from consent_server.settings.section import Section

#: Meters that are remembered, of all tokens together: a fifth of a kilobyte each.
_MOST_METERS: Final = 50_000


class _Lenient(Section):
    model_config = ConfigDict(extra="ignore")  # a later issuer may say more


Instant = Annotated[int, BeforeValidator(instant.parse)]


class _Meter(_Lenient):
    datasource: str
    meter: str = Field(min_length=1, max_length=48)
    fuel: Literal["electricity", "gas"]
    measures: tuple[Literal["import", "export"], ...]
    since: Instant | None
    until: Instant | None


class _Live(_Lenient):
    active: Literal[True]
    account: str
    meters: tuple[_Meter, ...]


class RemoteMeters:
    """What the issuer said of each token, until the token ends. What it says now of a tenancy, the next token gets."""

    def __init__(self, door: MetersDoor) -> None:
        self._door = door
        self._known: OrderedDict[bytes, tuple[int, Mapping[str, GrantedMeter]]] = OrderedDict()

    def of(self, token: str, release: Release, at: int) -> Mapping[str, GrantedMeter]:
        """Return data source -> meter. Raise MetersUnknown, and PermissionEnded where the issuer says so."""
        key = sha256(token.encode()).digest()
        known = self._known.get(key)
        if known is None or known[0] <= at:
            known = release.token.exp, self._asked(token, release)
            self._remember(key, known, at)
        return known[1]

    def _asked(self, token: str, release: Release) -> Mapping[str, GrantedMeter]:
        try:
            said = self._door.ask(token)
        except Unreachable as error:
            raise MetersUnknown(str(error)) from None
        if said.get("active") is False:
            raise PermissionEnded("the issuer says that the token is not active")
        return _checked(said, release)

    def _remember(self, key: bytes, known: tuple[int, Mapping[str, GrantedMeter]], at: int) -> None:
        self._known[key] = known
        ended = [each for each, (until, _) in tuple(self._known.items()) if until <= at]
        for each in ended:
            self._known.pop(each, None)
        while len(self._known) > 1 and sum(1 + len(meters) for _, meters in tuple(self._known.values())) > _MOST_METERS:
            self._known.popitem(last=False)


def _checked(said: dict[str, Any], release: Release) -> Mapping[str, GrantedMeter]:
    """Return what the issuer said, if it is of this release and of nothing else. Raise MetersUnknown."""
    try:
        live = _Live.model_validate(said)
    except ValidationError as error:
        raise MetersUnknown(f"the issuer's answer is not of its contract: {error.error_count()} faults") from None
    found = {
        each.datasource: GrantedMeter(each.datasource, each.meter, each.fuel, each.measures, each.since, each.until)
        for each in live.meters
    }
    if live.account != release.account or len(found) < len(live.meters):
        raise MetersUnknown("the issuer's answer is of another permission, or names a data source twice")
    if any(
        each.datasource not in release.token.datasources or each.fuel not in release.fuels for each in found.values()
    ):
        raise MetersUnknown("the issuer's answer names a data source or fuel that is not the token's")
    return found
