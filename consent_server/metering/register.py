"""The meter register: the business to which a postcode and meter numbers belong, and how strong that proof is.

It proves knowledge: whoever has a bill knows these numbers, with or without the authority to act for the business.
`method` and `strength` say so in the evidence. An EDP with a customer log-in replaces the journey's step, not this room.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from consent_server import store
from consent_server.scheme.meters import MaskedMeter, masked
from consent_server.settings import BadSettings
from consent_server.store import meters
from consent_server.web.language import N_

METHOD: Final = N_("postcode and meter number")
STRENGTH: Final = N_("knowledge, not authority")


@dataclass(frozen=True)
class Identified:
    """A business and its meters, as a permission keeps them: {"id", "fuel", "measures", "outcode", "masked"}."""

    sme: str
    business: str
    meters: list[MaskedMeter]
    method: str = METHOD
    strength: str = STRENGTH


#: (postcode "SW8 1AA", MPAN core of 13 digits or None, MPRN digits or None) -> the business, or None, which does not say
#: what was wrong. `scheme.meters` makes these forms.
Register = Callable[[str, str | None, str | None], Identified | None]


def register(register_source: str) -> Register:
    """Return the register that `metering.register_source` names: `table`, or a plug-in `module:function` of the same form.

    Raise BadSettings when the plug-in cannot be loaded.
    """
    if register_source == "table":
        return identify
    found: Register = plug_in("metering.register_source", register_source)
    return found


def identify(postcode: str, mpan: str | None, mprn: str | None) -> Identified | None:
    """Look in our own table. Raise StoreUnavailable.

    Each number given must be a meter at the postcode, and two numbers must belong to one business; otherwise return None,
    after the same look-ups, whatever was wrong. The result has all meters of that business for the fuels whose number was
    given: a business with several sites gives one of them, and one that does not share its gas omits the MPRN.
    """
    given = [(fuel, number) for fuel, number in (("electricity", mpan), ("gas", mprn)) if number]
    with store.reading() as c:
        found = [meters.by_number(c, fuel, number) for fuel, number in given]
        known = [row for row in found if row is not None and row.postcode == postcode]
        smes = {row.sme for row in known}
        everything = meters.of_sme(c, known[0].sme if known else "")
    if not given or len(known) != len(given) or len(smes) != 1:
        return None
    fuels = {fuel for fuel, _ in given}
    return Identified(
        sme=known[0].sme,
        business=known[0].business,
        meters=[
            {
                "id": row.id,
                "fuel": row.fuel,
                "measures": list(row.measures),
                "outcode": row.outcode,
                "masked": masked(row.number),
            }
            for row in everything
            if row.fuel in fuels
        ],
    )


def plug_in(setting: str, name: str) -> Any:
    """Return the function that `module:function` names. Raise BadSettings, naming the setting."""
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise BadSettings(f"{setting}: must be a known name or module:function")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise BadSettings(f"{setting}: {name} cannot be loaded: {error}") from None
    if not callable(found):
        raise BadSettings(f"{setting}: {name} is not a function")
    return found
