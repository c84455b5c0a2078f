"""How a requested permission differs from the one that it would replace: renewed, wider, narrower."""

from collections.abc import Collection
from dataclasses import dataclass

from consent_server.scheme.meters import MaskedMeter


@dataclass(frozen=True)
class Terms:
    """What a permission covers until `expires`: fuels, meters as far as they are known, and whether a bank gets emissions."""

    fuels: Collection[str]
    expires: int
    meters: tuple[MaskedMeter, ...] = ()
    bank: bool = False


@dataclass(frozen=True)
class Change:
    """The difference. The permission that would be replaced ends at `ends`, the new one at `until`."""

    ends: int
    until: int
    new_fuels: tuple[str, ...]
    left_fuels: tuple[str, ...]
    new_meters: tuple[MaskedMeter, ...]
    left_meters: tuple[MaskedMeter, ...]
    new_bank: bool

    @property
    def renewal(self) -> bool:
        """Return whether nothing differs but the time."""
        return not (self.new_fuels or self.left_fuels or self.new_meters or self.left_meters or self.new_bank)


def change(old: Terms, new: Terms) -> Change:
    """Return how `new` differs from `old`. A meter is new or left out only where both have meters that are known."""
    known = bool(old.meters and new.meters)
    return Change(
        ends=old.expires,
        until=new.expires,
        new_fuels=tuple(sorted(set(new.fuels) - set(old.fuels))),
        left_fuels=tuple(sorted(set(old.fuels) - set(new.fuels))),
        new_meters=_beside(new.meters, old.meters) if known else (),
        left_meters=_beside(old.meters, new.meters) if known else (),
        new_bank=new.bank and not old.bank,
    )


def _beside(meters: tuple[MaskedMeter, ...], others: tuple[MaskedMeter, ...]) -> tuple[MaskedMeter, ...]:
    known = {each["id"] for each in others}
    return tuple(each for each in meters if each["id"] not in known)
