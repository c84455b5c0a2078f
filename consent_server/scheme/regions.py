"""Regions of Great Britain's electricity grid, by the numbers of the Carbon Intensity API, and which one a meter lies in.

The API gives a region for most outcodes. For the others the first digits of the meter's supply number name the distributor,
which has one region; failing that, the postcode's area lies in one region; failing that, the national figure is used.

Numbers and names are those of the API's documentation (https://carbon-intensity.github.io/api-definitions/#region-list). A
distributor's two digits and its GSP group are Elexon's market domain data. Which area lies where was compared with two public
lists of postcode districts by distributor (https://github.com/luketarplin/UKEnergyCompanyLibs and
https://github.com/rurigrass/energy-calculator-2, November 2026, which differ in 113 of 2,877 districts).
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from consent_server.scheme.meters import MeterNumberError, parse_mpan

#: Regions under the short names that the API uses.
REGIONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "North Scotland",
        2: "South Scotland",
        3: "North West England",
        4: "North East England",
        5: "Yorkshire",
        6: "North Wales & Merseyside",
        7: "South Wales",
        8: "West Midlands",
        9: "East Midlands",
        10: "East England",
        11: "South West England",
        12: "South England",
        13: "London",
        14: "South East England",
    }
)
#: Whole nations, which the API numbers on from the regions.
NATIONS: Final[Mapping[int, str]] = MappingProxyType({15: "England", 16: "Scotland", 17: "Wales"})
_ENGLAND, _SCOTLAND, _WALES = NATIONS

#: How a region was found.
By = Literal["outcode", "distributor", "district", "nation"]


class Region(NamedTuple):
    number: int
    by: By


#: The distributor in an MPAN's first two digits, a GSP group each, and its region. 24 and up are independent networks.
_OF_DISTRIBUTOR: Final = {
    "10": 10, "11": 9, "12": 13, "13": 6, "14": 8, "15": 4, "16": 3,
    "17": 1, "18": 2, "19": 14, "20": 12, "21": 7, "22": 11, "23": 5,
}  # fmt: skip
#: Postcode areas of which four fifths of the districts or more lie in one distributor's area, in both lists.
_AREAS: Final = {
    1: "AB DD HS IV KW PH ZE",
    2: "DG EH G KA KY ML TD",
    3: "BB BL CA FY LA M OL PR SK WN",
    4: "DH DL HG NE SR TS",
    5: "BD DN HD HU HX LS WF",
    6: "CH CW L LL",
    7: "CF NP SA",
    8: "B DY GL HR ST TF WR WS WV",
    9: "CV DE LE LN NG NN",
    10: "AL CB CM CO EN IP LU NR RM SG SS WD",
    11: "BS EX PL TA TQ TR",
    12: "BH OX PO RG SL SN SO SP UB",
    13: "EC SE WC",
    14: "BN CT ME RH SM TN",
}
_OF_AREA: Final = {area: region for region, areas in _AREAS.items() for area in areas.split()}
#: Those others of Great Britain's 120 postcode areas, by the nation in which most of each lies.
_SHARED_AREAS: Final = {
    _ENGLAND: "BA BR CR DA DT E GU HA HP IG KT MK N NW PE S SW SY TW W WA YO",
    _SCOTLAND: "FK PA",
    _WALES: "LD",
}
_NATION_OF_AREA: Final = {area: nation for nation, areas in _SHARED_AREAS.items() for area in areas.split()}
_OTHER_GRIDS: Final = frozenset({"BT", "JE", "GY", "IM"})
_AREA: Final = re.compile(r"([A-Z]{1,2})[0-9][0-9A-Z]?", re.ASCII)
#: A meter's id that is its supply number, as deployed providers write it: the core alone, or all 21 digits after an S.
_SUPPLY_NUMBER: Final = re.compile(r"[0-9]{13}|S[0-9]{21}", re.ASCII)


def is_elsewhere(outcode: str) -> bool:
    """Return whether an outcode is on a grid of its own (Northern Ireland, the islands), which the API does not have."""
    return _area(outcode) in _OTHER_GRIDS


def is_of_the_grid(outcode: str) -> bool:
    """Return whether an outcode is of one of Great Britain's postcode areas: the API can know no other."""
    area = _area(outcode)
    return area in _OF_AREA or area in _NATION_OF_AREA


def stand_in(source_id: str, outcode: str) -> Region | None:
    """Return the region for a meter whose outcode the API does not know; None where nothing says which nation it is in."""
    if (region := _OF_DISTRIBUTOR.get(_distributor(source_id))) is not None:
        return Region(region, "distributor")
    area = _area(outcode)
    if area in _OF_AREA:
        return Region(_OF_AREA[area], "district")
    return Region(_NATION_OF_AREA[area], "nation") if area in _NATION_OF_AREA else None


def name_of(region: int) -> str:
    return REGIONS.get(region) or NATIONS[region]


def _area(outcode: str) -> str:
    found = _AREA.fullmatch(outcode)
    return found[1] if found else ""


def _distributor(source_id: str) -> str:
    # An id is opaque, so only one that holds a supply number with its right check digit is read as one.
    if not _SUPPLY_NUMBER.fullmatch(source_id):
        return ""
    try:
        supply = parse_mpan(source_id)
    except MeterNumberError:
        return ""
    return supply.number[:2] if supply.check_digit_ok else ""
