"""The meter register: which business a postcode and meter numbers belong to, and how strongly that was shown.

What is shown is knowledge: whoever has a bill at hand knows these numbers, with or without the authority to act for the
business. `method` and `strength` say so in the evidence. An EDP with a customer log-in replaces the step, not this room.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from consent_server import store
from consent_server.scheme.meters import masked
from consent_server.settings import BadSettings
from consent_server.store import meters

METHOD: Final = "postcode and meter number"
STRENGTH: Final = "knowledge, not authority"


@dataclass(frozen=True)
class Identified:
    """A business and its meters, as a permission keeps them: {"id", "fuel", "measures", "outcode", "masked"}."""

    sme: str
    business: str
    meters: list[dict[str, Any]]
    method: str = METHOD
    strength: str = STRENGTH


#: (postcode "SW8 1AA", MPAN core of 13 digits or None, MPRN digits or None) -> the business, or None. `scheme.meters`
#: has brought the three into this form. None says nothing about which of them was wrong.
Register = Callable[[str, str | None, str | None], Identified | None]


def register(register_source: str) -> Register:
    """The register that `metering.register_source` names: `table`, or a plug-in `module:function` of the same form.

    Raises BadSettings when the plug-in cannot be loaded.
    """
    if register_source == "table":
        return identify
    found: Register = plug_in("metering.register_source", register_source)
    return found


def identify(postcode: str, mpan: str | None, mprn: str | None) -> Identified | None:
    """Look in our own table. Raises StoreUnavailable.

    Each number given must be a meter at the postcode, and two numbers must belong to one business; otherwise the answer
    is None, after the same look-ups, whatever was wrong. The meters found are all of that business's for the fuels
    whose number was given: a business with several sites names one of them, and one that keeps its gas to itself
    leaves the MPRN out.
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
    """The function that `module:function` names. Raises BadSettings, naming the setting."""
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
