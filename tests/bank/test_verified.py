"""What a bank believes: all of an answer, or nothing of it."""

import json
from typing import Any

import pytest

from consent_server.bank.verified import EmissionsNotVerified, verified
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.scheme.provenance import calculated
from consent_server.scheme.provenance.steps import process_url, scheme_url
from tests.bank.answers import AT, BEGIN, END, answer, call, month
from tests.deployments import layout

SCHEME = scheme_url(layout().registry)


def missing(word: str) -> dict[str, Any]:
    return {"perseus:assurance": {"missingData": f"{SCHEME}/assurance/missing-data/{word}"}}


def period(start: int, end: int, **more: str) -> dict[str, Any]:
    return {"perseus:scheme": {"meteringPeriod": {"from": instant.text(start), "to": instant.text(end)}, **more}}


def test_a_year_of_both_fuels() -> None:
    data = [month(number, fuel) for number in range(12) for fuel in ("gas", "electricity")]
    body = answer(data, fuels=("electricity", "gas"))
    found = verified(body, call())
    assert [each.fuel for each in found.months] == ["electricity"] * 12 + ["gas"] * 12
    assert [(each.fuel, each.months, each.missing, each.kilograms) for each in found.totals] == [
        ("electricity", 12, (), 14814.0),
        ("gas", 12, (), 14814.0),
    ]
    assert [each.quality.score for each in found.totals] == [2, 2]
    assert [sorted(each.steps) for each in found.signers] == [
        ["origin", "permission", "transfer"],
        ["origin", "permission", "process", "receipt", "transfer"],
    ]


def test_months_with_a_gap_are_marked() -> None:
    found = verified(answer([month(number) for number in range(12) if number not in (3, 4)]), call())
    (total,) = found.totals
    assert (total.months, total.kilograms) == (10, 12345.0)
    assert total.missing == (instant.months_later(BEGIN, 3), instant.months_later(BEGIN, 4))


def test_a_site_with_whole_months_alone_may_begin_later_and_end_earlier() -> None:
    second = period(instant.next_month(BEGIN), instant.months_later(END, -1), postcode="S4")
    assert len(verified(answer(second=second), call()).months) == 12


def test_an_answer_without_a_month_needs_no_record() -> None:
    found = verified(b'{"data": []}', call())
    assert (found.months, found.totals, found.quality) == ((), (), None)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"origin": missing("Substituted")}, id="estimates among the readings"),
        pytest.param({"origin": missing("Missing")}, id="gaps in the readings"),
        pytest.param({"process": missing("Substituted")}, id="estimates in the calculation"),
        pytest.param({"process": {"perseus:assurance": {}}}, id="nothing said"),
    ],
)
def test_the_score_follows_what_the_record_says(changes: dict[str, Any]) -> None:
    found = verified(answer(**changes), call())
    assert found.quality is not None
    assert (found.quality.score, found.totals[0].quality.score) == (3, 3)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        pytest.param([], "no list of months", id="no object"),
        pytest.param({"data": None}, "no list of months", id="no list"),
        pytest.param({"data": [1]}, "no fuel", id="no month"),
        pytest.param({"data": [month(fuel="oil")]}, "no fuel", id="another fuel"),
        pytest.param({"data": [month(fuel=["gas"])]}, "no fuel", id="a fuel that is a list"),
        pytest.param({"data": [month(), month()]}, "twice", id="a month twice"),
        pytest.param({"data": [month(to="x")]}, "date-times", id="no date-time"),
        pytest.param({"data": [month(to=instant.text(END))]}, "two months in a row", id="a year as a month"),
        pytest.param({"data": [month(**{"from": instant.text(BEGIN + DAY)})]}, "in a row", id="from the second day"),
        pytest.param({"data": [month(-1)]}, "outside the window", id="before the window"),
        pytest.param({"data": [month(12)]}, "outside the window", id="after the window"),
        pytest.param({"data": [month(takenAt=instant.text(BEGIN))]}, "takenAt", id="worked out before it was over"),
        pytest.param({"data": [month(takenAt=instant.text(AT + DAY))]}, "takenAt", id="worked out tomorrow"),
        pytest.param({"data": [month(emissions={"value": 1, "unitCode": "TNE"})]}, "KGM", id="tonnes"),
        pytest.param({"data": [month(emissions=3)]}, "KGM", id="a bare number"),
        *(
            pytest.param({"data": [month(kilograms=value)]}, "plausible", id=f"a figure of {value!r}")
            for value in (-0.1, 1e10, "12", True, None, [])
        ),
        pytest.param({"data": [month()]}, "provenance: a record is a JSON object", id="no record"),
    ],
)
def test_figures_that_are_refused(document: Any, says: str) -> None:
    with pytest.raises(EmissionsNotVerified, match=says):
        verified(json.dumps(document).encode(), call())


@pytest.mark.parametrize("text", [b"", b"{", b'{"data": [], "data', b"\xff", b'{"data":[{"emissions":{"value":NaN}}]}'])
def test_what_is_not_json(text: bytes) -> None:
    with pytest.raises(EmissionsNotVerified, match="JSON"):
        verified(text, call())


@pytest.mark.parametrize(
    ("changes", "asked", "says"),
    [
        pytest.param({"transfer": {"to": layout().member("fsp2")}}, {}, "our member", id="sent to another bank"),
        pytest.param({}, {"license": layout().license("one_permission")}, "license", id="another license"),
        pytest.param({}, {"account": "another"}, "account", id="another permission"),
        pytest.param({"permission": {"account": "another"}}, {}, "account", id="a permission of another business"),
        pytest.param({"permission": {"expires": instant.text(AT)}}, {}, "expired", id="a permission that has expired"),
        pytest.param({}, {"start": instant.months_later(BEGIN, -1)}, "parameters", id="another window"),
        pytest.param({}, {"service": "https://another.example"}, "service", id="another service"),
        pytest.param({}, {"application": "https://another.example"}, "application", id="another application"),
        pytest.param({"signer": "edp_service"}, {}, "member that we called", id="signed by another member"),
        pytest.param({}, {"cap_roles": ("https://r.example",)}, "provider's role", id="signed without the role"),
        pytest.param({}, {"at": AT + 2 * DAY}, "recent", id="an answer of the day before yesterday"),
        pytest.param({}, {"edp_roles": ("https://r.example",)}, "energy data provider", id="readings of no provider"),
        pytest.param({"edp": "fsp_service"}, {}, "energy data provider", id="readings that we ourselves signed"),
        pytest.param({"cap": "edp_service"}, {}, "receipt: the signer", id="a receipt of another"),
        pytest.param(
            {"edp_transfer": {"to": layout().member("cap2")}}, {}, "sent to who received", id="readings for another CAP"
        ),
        pytest.param(
            {"edp_transfer": {"standard": layout().emissions_standard}}, {}, "standard", id="no consumption data"
        ),
        pytest.param(
            {"edp_transfer": {"license": "https://l.example"}},
            {},
            "allows its license",
            id="readings without a license",
        ),
        pytest.param({"edp_transfer": {"permissions": []}}, {}, "allows its license", id="readings without permission"),
        pytest.param(
            {"edp_permission": {"expires": instant.text(AT)}}, {}, "not in force", id="readings after the permission"
        ),
        pytest.param(
            {"edp_permission": {"timestamp": instant.text(AT + DAY)}}, {}, "not in force", id="readings before it"
        ),
        pytest.param({"edp_permission": {"expires": None}}, {}, "was not in force", id="a permission without an end"),
        pytest.param(
            {"edp_permission": {"allows": {"licenses": [layout().license("electricity_and_gas")], "processes": []}}},
            {},
            "process: no permission",
            id="a calculation that nobody permitted",
        ),
        pytest.param(
            {"receipt": {"timestamp": instant.text(AT - DAY)}}, {}, "before they were sent", id="received first"
        ),
        pytest.param(
            {"origin": {"sourceType": f"{SCHEME}/source-type/GridCarbonIntensity"}}, {}, "meter", id="no meter"
        ),
        pytest.param(
            {"origin": {"sourceType": "https://s.example/Meter"}}, {}, "meter", id="a meter of another scheme"
        ),
        pytest.param({"metered_by": "fsp_service"}, {}, "member that sent them", id="readings of another member"),
        pytest.param({"origin": {"perseus:scheme": {}}}, {}, "meteringPeriod", id="readings of no period"),
        pytest.param({"origin": period(BEGIN + DAY, END)}, {}, "no readings", id="readings that begin a day late"),
        pytest.param({"factor": period(BEGIN, END - DAY)}, {}, "no factor", id="factors that end a day early"),
        pytest.param(
            {"second": period(BEGIN + DAY, END, postcode="S4")},
            {},
            "a part of a month",
            id="a site that begins a day late",
        ),
        pytest.param(
            {"second": period(BEGIN, END - DAY, postcode="S4")},
            {},
            "a part of a month",
            id="a site that ends a day early",
        ),
        pytest.param({"only_receipts": True}, {}, "readings and factors", id="no factor at all"),
        pytest.param(
            {"factor": {"sourceType": f"{SCHEME}/source-type/GasGreenhouseGasFactor"}},
            {},
            "inputs must be receipts",
            id="a factor of gas",
        ),
        pytest.param({"fuels": ("gas",)}, {}, "calculation for electricity", id="a record of the other fuel"),
        pytest.param(
            {"process": {"process": process_url(layout().registry, "gas") + "x"}},
            {},
            "registers",
            id="another calculation",
        ),
        pytest.param({"of_origin": True}, {}, "registers", id="a transfer of a factor"),
    ],
)
def test_provenance_that_is_refused(changes: dict[str, Any], asked: dict[str, Any], says: str) -> None:
    with pytest.raises(EmissionsNotVerified, match=f"provenance: .*{says}"):
        verified(answer(**changes), call(**asked))


def test_factors_of_very_many_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calculated, "_MOST_SOURCES", 0)
    with pytest.raises(EmissionsNotVerified, match="more sources"):
        verified(answer(), call())


def test_a_record_that_was_changed() -> None:
    document = json.loads(answer())
    document["provenance"]["steps"][-1][3] = document["provenance"]["steps"][0][-1][3]
    with pytest.raises(EmissionsNotVerified, match="signature"):
        verified(json.dumps(document).encode(), call())


def test_under_one_permission_the_account_is_the_energy_data_providers() -> None:
    license_ = layout().license("one_permission")
    allows = {"licenses": [license_, layout().license("electricity_and_gas")]}
    body = answer(one_permission=True, edp_permission={"allows": allows}, transfer={"license": license_})
    assert verified(body, call(license=license_)).months
