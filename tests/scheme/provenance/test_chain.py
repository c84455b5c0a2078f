"""The chain in words and as a picture, and what is signed and still does not hold."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.scheme.provenance import drawing
from consent_server.scheme.provenance.chain import faults, tree
from consent_server.scheme.provenance.container import Record
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    cap_record,
    permission_step,
    process_step,
    process_url,
    receipt_step,
)
from tests.scheme.provenance import worst
from tests.scheme.provenance.test_steps import (
    CAP_FSP,
    FRAMEWORK,
    FSP_GRANT,
    GRANT,
    ONE_PERMISSION,
    RELEASE,
    SCHEME,
    cap,
    edp,
    emissions_release,
    read,
)
from tests.scheme.provenance.test_steps import edp_record as provider_record
from tests.scheme.signing import FSP_ROLE, NOW, REGISTRY, member_signer

SVG = "{http://www.w3.org/2000/svg}"


def report(grant: Any = FSP_GRANT, license_url: str = CAP_FSP) -> list[dict[str, Any]]:
    return read(cap_record(emissions_release(grant, license_url), cap()))


def test_a_report_as_a_tree() -> None:
    lines = tree(report())
    told = "\n".join(lines)
    first = lines[0]
    assert first.startswith("transfer of emissions-report 2026-03-12 to https://directory")
    assert first.endswith("signed by CAP Limited at 2026-03-12T09:33:00Z, under P4")
    assert lines[1].startswith(
        "  process electricity-emissions-calculation 2026-03-12, missing data: Complete, signed by CAP"
    )
    assert lines[2].startswith("    receipt, signed by CAP Limited")
    assert lines[3].startswith("      transfer of energy-consumption-data 2026-03-12 to ")
    assert lines[3].endswith("signed by EDP Limited at 2026-03-12T09:30:00Z, under P1")
    assert lines[4].startswith(
        "        origin Meter in SW8 from https://www.smartdcc.co.uk/, 2025-03-01T00:00:00Z to 2026-03-01"
    )
    assert "origin GridCarbonIntensity in M1 from https://api.carbonintensity.org.uk/" in told
    assert "origin GasGreenhouseGasFactor from https://www.gov.uk/government/publications/greenhouse-gas" in told
    assert "P4 permission of 2026-03-12T09:30:00Z until 2027-03-12T09:30:00Z for emissions-cap-fsp 2026-03-12" in told
    assert sum(line.lstrip().startswith("origin") for line in lines) == 7


@pytest.mark.parametrize(("grant", "license_url"), [(FSP_GRANT, CAP_FSP), (None, ONE_PERMISSION)], ids=["own", "one"])
def test_our_own_records_hold(grant: Any, license_url: str) -> None:
    assert faults(report(grant, license_url)) == []


SPOILT: dict[str, tuple[Callable[[], list[dict[str, Any]]], str]] = {
    "a permission given later": (
        lambda: report(replace(FSP_GRANT, granted=NOW + 3600)),
        "made before its permission was given",
    ),
    "a permission that had expired": (
        lambda: report(replace(FSP_GRANT, granted=NOW - 400 * DAY, expires=NOW - DAY)),
        "made after its permission had expired",
    ),
    "another license": (lambda: report(replace(FSP_GRANT, license=ONE_PERMISSION)), "allows its license"),
    "another fuel": (lambda: read(worked_out("electricity", "gas")), "allows its process"),
    "no receipt": (lambda: read(around()), "nobody has signed a receipt"),
    "received by another": (lambda: read(around(member_signer("fsp", FSP_ROLE))), "and sent to another"),
}


def worked_out(allowed: str, fuel: str) -> Any:
    """A calculation of one fuel under a permission for another."""
    record = Record(FRAMEWORK)
    permission = permission_step(
        scheme=SCHEME,
        at=NOW,
        account="a",
        licenses=[],
        processes=[process_url(REGISTRY, allowed)],
        expires=NOW + DAY,
    )
    step = process_step(
        scheme=SCHEME,
        at=NOW,
        inputs=[],
        process=process_url(REGISTRY, fuel),
        permissions=[record.add_step(permission)],
        missing_data=COMPLETE,
    )
    record.add_step({"type": "origin", "timestamp": instant.text(NOW)})
    record.add_step(step)
    return record.sign(cap(), NOW)


def around(receiver: Any = None) -> Any:
    """A provider's record with somebody's signature around it, who may have signed a receipt."""
    record = Record(FRAMEWORK)
    inner = provider_record(replace(RELEASE, grant=GRANT), edp())
    record.add_record(inner)
    if receiver is not None:
        transfer = next(step["id"] for step in read(inner) if step["type"] == "transfer")
        record.add_step(receipt_step(scheme=SCHEME, at=NOW, transfer=transfer))
    else:
        record.add_step({"type": "origin", "timestamp": instant.text(NOW)})
    return record.sign(receiver or cap(), NOW)


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_signed_and_does_not_hold(name: str) -> None:
    steps, said = SPOILT[name]
    found = faults(steps())
    assert found
    assert all(said in fault for fault in found), found


def test_the_picture_says_what_it_shows() -> None:
    picture = ElementTree.fromstring(drawing.svg(report(), "Where <the figures> come from"))
    assert picture.get("role") == "img"
    named = [
        picture.find(f"{SVG}{element}[@id='{id_}']")
        for element, id_ in (("title", "chain-title"), ("desc", "chain-desc"))
    ]
    assert picture.get("aria-labelledby") == "chain-title chain-desc"
    assert all(each is not None and each.text for each in named)
    boxes = picture.findall(f"{SVG}g")
    # Meter readings and factors of two outcodes, two sets, the provider's transfer, two processes, the transfer to the bank.
    assert len(boxes) == 2 + 2 + 2 + 1 + 2 + 1
    words = "".join(picture.itertext())
    for part in (
        "Where <the figures> come from",
        "GridCarbonIntensity",
        "CAP Limited",
        "Transfer (3)",
        "signed by EDP Limited",
    ):
        assert part in words
    assert {each.tag for each in picture.iter()} == {
        f"{SVG}{name}" for name in ("svg", "title", "desc", "rect", "path", "g", "text", "tspan")
    }


def hostile(count: int = 1) -> list[dict[str, Any]]:
    """Steps with text that would move a cursor, leave an attribute or open a script, and members of other types."""
    text = '"><script>alert(1)</script>\x1b[2J\u202e' + "x" * 5000
    steps: list[dict[str, Any]] = [
        {"type": "permission", "id": "p", "expires": 7, "allows": {"licenses": [{}, [text]], "processes": text}},
        {
            "type": "origin",
            "id": "o",
            "sourceType": {},
            "origin": [text],
            "perseus:scheme": [],
            "perseus:assurance": text,
        },
    ]
    steps += [
        {"type": "origin", "id": f"o{number}", "sourceType": f"{text[:30]}{number}", "perseus:scheme": {"postcode": {}}}
        for number in range(count)
    ]
    steps.append({"type": "process", "id": "x", "inputs": ["o"] * 5, "permissions": ["p", "p"], "process": [text]})
    steps.append(
        {"type": "transfer", "id": "t", "of": "x", "to": text, "parameters": 7, "permissions": ["p"], "license": {}}
    )
    steps.append({"type": "receipt", "id": "r", "transfer": "t", "permissions": [{}]})
    steps.append({"type": "transfer", "id": "u", "of": "x", "license": {}})
    record = worst.record([worst.encode({"timestamp": instant.text(NOW)} | step) for step in steps[2:-4]])
    record["steps"] = worst.signed([worst.encode({"timestamp": instant.text(NOW)} | step) for step in steps])
    record["origins"] = [step["id"] for step in steps if step["type"] == "origin"]
    return read(json.loads(json.dumps(record)))


@pytest.mark.parametrize("count", [1, 200])
def test_a_hostile_record_is_told_without_harm(count: int) -> None:
    steps = hostile(count)
    lines = tree(steps)
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
    picture = drawing.svg(steps, "title")
    assert "<script" not in picture
    assert len(ElementTree.fromstring(picture).findall(f"{SVG}g")) <= drawing.MOST_BOXES
    assert len(faults(steps)) >= 3


class Counted(dict[str, Any]):
    """A step that counts how often it is looked into."""

    looks = 0

    def __getitem__(self, name: str) -> Any:
        Counted.looks += 1
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        Counted.looks += 1
        return super().get(name, default)


@pytest.mark.parametrize(
    "work", [tree, faults, lambda steps: drawing.svg(steps, "")], ids=["tree", "faults", "picture"]
)
def test_the_work_grows_with_steps_and_references_alone(work: Callable[[Any], Any]) -> None:
    """Every process rests on all origins and names all permissions: looking into steps must not be done for each reference."""
    signature = {"signed": {"member": "m", "name": "n", "application": "a"}, "includedBy": [], "timestamp": "t"}
    common = {"timestamp": instant.text(NOW), "_signature": signature}
    origins, permissions = [f"o{n}" for n in range(50)], [f"p{n}" for n in range(50)]
    steps = [
        *(Counted(common, id=each, type="origin") for each in origins),
        *(Counted(common, id=each, type="permission", allows={"licenses": ["l"]}) for each in permissions),
        *(Counted(common, id=f"x{n}", type="process", inputs=origins, permissions=permissions) for n in range(50)),
    ]
    Counted.looks = 0
    work(steps)
    assert Counted.looks <= 20 * len(steps)
