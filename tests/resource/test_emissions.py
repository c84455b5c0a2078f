"""The emissions data API, to the letter of emissions-data@2026-03-12."""

import orjson
import pytest

from consent_server import clock, store
from consent_server.collect import report
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.scheme.provenance import container
from consent_server.scheme.provenance.container import verify
from consent_server.scheme.provenance.steps import COMPLETE, MISSING
from consent_server.store import accounts, connections, links, permissions, rows
from consent_server.store.rows import table_of
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import CollectedMeter, CollectedWindow, MeterMonth, ProviderConnection
from tests import records
from tests.resource.conftest import ResourceServer

JANUARY, MARCH = instant.parse("2026-01-01T00:00:00Z"), instant.parse("2026-03-01T00:00:00Z")
#: The first month that has been collected of electricity: more than a window of 400 days before now.
EARLIEST = instant.parse("2025-01-01T00:00:00Z")
TAKEN = instant.parse("2026-03-11T00:00:00Z")
WINDOW = "/emissions?from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z"


def connected(cap: ResourceServer, collected: int | None) -> None:
    """Connect the SME's provider; `collected` is when its readings came, if they did."""
    at = clock.now()
    connection = ProviderConnection(
        id="c",
        account="acme",
        issuer=cap.layout.issuer("edp"),
        resource=cap.layout.resource("edp"),
        member=cap.layout.member("edp"),
        application=cap.layout.application("edp_service"),
        license=cap.layout.license("electricity_and_gas"),
        refresh_sealed=b"",
        refresh_mac="",
        granted=at - DAY,
        expires=at + 365 * DAY,
        collect_due=at + 30,
        collected=collected,
        listed=collected,
    )
    with store.writing() as c:
        accounts.add(c, SmeAccount("acme", "owner@acme.example", "Acme", created=0))
        connections.add(c, connection)
        links.add(c, connection.id, "permission-1")


def months(fuel: str, first: int, kilograms: float) -> list[MeterMonth]:
    """Every month from `first` to the one that is not over yet."""
    found = []
    while first <= MARCH:
        found.append(records.month(fuel, first, kilograms, TAKEN, missing=int(first == MARCH)))
        first = instant.next_month(first)
    return found


def window(fuel: str, start: int) -> CollectedWindow:
    record = orjson.dumps(records.received(start, TAKEN, TAKEN, fuel))
    return CollectedWindow("c", fuel, "import", start, TAKEN, fuel, "S3", TAKEN, True, record)


@pytest.fixture
def collected(cap: ResourceServer) -> ResourceServer:
    """The CAP, with months of electricity, and of gas from January on."""
    connected(cap, TAKEN)
    with store.writing() as c:
        rows.put(c, *(CollectedMeter("c", fuel, fuel, "S3", 0) for fuel in ("electricity", "gas")))
        rows.put(c, window("electricity", EARLIEST), window("gas", JANUARY))
        electricity = months("electricity", EARLIEST, 12.3456789)
        rows.put(c, *electricity, *months("gas", JANUARY, 7)[:1], *months("gas", MARCH, 7))
    return cap


@pytest.fixture
def not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is worked out for a request that is refused."""
    monkeypatch.setattr(report, "report", lambda *_: pytest.fail("the report was asked for"))


def test_months_come_in_kilograms_with_provenance(collected: ResourceServer) -> None:
    answer = collected.get("/emissions?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z")
    assert answer.status_code == 200
    assert answer.json["data"] == [
        {
            "type": "electricity",
            "from": "2026-01-01T00:00:00Z",
            "to": "2026-02-01T00:00:00Z",
            "takenAt": "2026-03-11T00:00:00Z",
            "emissions": {"value": 12.345679, "unitCode": "KGM"},
        },
        {
            "type": "gas",
            "from": "2026-01-01T00:00:00Z",
            "to": "2026-02-01T00:00:00Z",
            "takenAt": "2026-03-11T00:00:00Z",
            "emissions": {"value": 7, "unitCode": "KGM"},
        },
    ]
    assert answer.json.keys() == {"data", "provenance"}
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_provenance_is_made_out_to_the_caller_under_its_permission(collected: ResourceServer) -> None:
    layout = collected.layout
    steps = verify(collected.get(WINDOW).json["provenance"], layout.trust_framework, collected.deployment.signing_root)
    own = [step for step in steps if step["_signature"]["signed"]["application"] == layout.application("cap_portal")]
    (permission,) = (step for step in own if step["type"] == "permission")
    assert (permission["account"], permission["timestamp"]) == ("account-1", instant.text(clock.now() - 60))
    transfers = [step for step in own if step["type"] == "transfer"]
    assert [(step["to"], step["service"], step["license"], step["parameters"]) for step in transfers] == [
        (
            layout.member("fsp"),
            layout.data_service("cap"),
            layout.license("emissions"),
            {"from": "2026-01-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
        )
    ] * 2
    processes = [step for step in own if step["type"] == "process"]
    # February has no gas
    said = [step["perseus:assurance"]["missingData"].rpartition("/")[2] for step in processes]
    assert said == [COMPLETE, MISSING]


def test_gas_stays_when_the_permission_does_not_cover_it(collected: ResourceServer) -> None:
    answer = collected.get(WINDOW, fuels=("electricity",))
    assert [row["type"] for row in answer.json["data"]] == ["electricity", "electricity"]


def test_the_months_of_a_provider_connected_later_are_not_given(collected: ResourceServer) -> None:
    def given() -> tuple[object, int]:
        with store.reading() as c:
            permission = permissions.find(c, "permission-1")
        assert permission is not None
        return collected.get(WINDOW).json["data"], collected.deployment.party.data_available_from(permission)

    before = given()
    assert before[1] == EARLIEST
    with store.writing() as c:
        first = connections.find(c, "c")
        assert first is not None
        connections.add(c, first._replace(id="later", resource="https://later.example", refresh_mac="later"))
        rows.put(c, CollectedMeter("later", "electricity", "electricity", "S3", 0))
        rows.put(c, window("electricity", JANUARY)._replace(connection="later"))
        rows.put(c, *(each._replace(connection="later") for each in months("electricity", JANUARY, 100)))
    assert given() == before
    with store.writing() as c:
        links.add(c, "later", "permission-1")
    assert given() != before, "that of a provider that the text named"


def test_D13_the_permission_record_says_from_when_there_are_months(collected: ResourceServer) -> None:
    with store.reading() as c:
        granted = permissions.find(c, "permission-1")
    assert granted is not None
    available = collected.deployment.party.data_available_from
    assert available(granted) == EARLIEST
    assert available(granted._replace(fuels=["gas"])) == JANUARY
    # Without months: what would be asked for now, thirteen of them; of an ended permission, what would have been at its end.
    nothing = granted._replace(sme="another")
    assert available(nothing) == instant.parse("2025-02-01T00:00:00Z")
    assert available(nothing._replace(ended=JANUARY)) == instant.parse("2024-12-01T00:00:00Z")


@pytest.mark.parametrize(
    "case", ["another meter", "another set of factors", "nothing collected", "waiting for the grid"]
)
def test_D13_a_month_that_a_report_leaves_out_is_not_available(collected: ResourceServer, case: str) -> None:
    fuel = "gas" if case == "another set of factors" else "electricity"
    with store.writing() as c:
        row = permissions.find(c, "permission-1")
        assert row is not None
        if case == "another meter":  # one that has no month before January
            rows.put(c, CollectedMeter("c", "second", fuel, "S3", 0))
            rows.put(c, *(each._replace(datasource="second") for each in months(fuel, JANUARY, 1)))
        if case == "another set of factors":
            rows.put(c, *(each._replace(basis="older") for each in months(fuel, JANUARY, 7)[:1]))
        if case == "nothing collected":
            c.execute(table_of(ProviderConnection).update().values(listed=None))
        if case == "waiting for the grid":
            due = clock.now()
            rows.put(
                c, *(each._replace(complete=False, weigh_due=due, at=due) for each in months(fuel, JANUARY, 1)[:1])
            )
    there = JANUARY if case == "another meter" else instant.parse("2025-02-01T00:00:00Z")
    assert collected.deployment.party.data_available_from(row._replace(fuels=[fuel])) == there


@pytest.mark.parametrize(
    ("query", "there"),
    [
        ("from=2026-01-01&to=2026-03-01", ["2026-01-01", "2026-02-01"]),
        ("from=2026-01-01T00:00:00Z&to=2026-01-01", []),
        ("from=2026-01-01", ["2026-01-01", "2026-02-01"]),
        ("from=2026-01-01T01:00:00%2B01:00", ["2026-01-01", "2026-02-01"]),
        ("from=2025-01-01&to=2026-02-01", [*(f"2025-{month:02}-01" for month in range(1, 13)), "2026-01-01"]),
        ("from=2025-12-15&to=2026-02-15T12:30:00Z", ["2026-01-01"]),
        ("from=2026-01-01T00:00:01Z&to=2026-03-01", ["2026-02-01"]),
        ("from=2026-01-10&to=2026-02-20", []),
        ("from=2026-01-01T00:00:00Z&to=2026-01-31T23:59:59Z", []),
        ("from=9999-12-15&to=9999-12-31", []),
        ("from=2026-01-01&to=2026-01-02", []),
        ("from=2026-01-31&to=2026-03-02", ["2026-02-01"]),
        ("from=2024-12-31&to=2025-12-31", [f"2025-{month:02}-01" for month in range(1, 12)]),
        ("from=2024-01-01&to=2025-01-01", []),
        ("from=2026-03-12&to=2027-03-12", []),
    ],
    ids=[
        "dates alone",
        "empty",
        "to is this month",
        "offset",
        "13 months",
        "edges inside months",
        "a second late",
        "no whole month",
        "a second short",
        "the last month that there is",
        "one day",
        "a whole month between two days",
        "a year from inside a month",
        "a year before there was anything",
        "a year to come",
    ],
)
def test_windows(collected: ResourceServer, query: str, there: list[str]) -> None:
    answer = collected.get(f"/emissions?{query}", fuels=("electricity",))
    assert answer.status_code == 200
    assert [row["from"] for row in answer.json["data"]] == [f"{day}T00:00:00Z" for day in there]


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ("", [("from", "missing")]),
        ("from=2026-01", [("from", "date-time")]),
        ("from=2026-13-01&to=x", [("from", "date-time"), ("to", "date-time")]),
        ("from=2026-02-01&to=2026-01-01", [("to", "reversed")]),
        ("from=2024-01-01&to=2026-01-01", [("from", "too_long")]),
        ("from=2026-01-01&to=2026-02-01&to=2026-03-01", [("to", "doubled")]),
    ],
)
@pytest.mark.usefixtures("not_asked")
def test_bad_windows_are_422(collected: ResourceServer, query: str, faults: list[tuple[str, str]]) -> None:
    answer = collected.get(f"/emissions?{query}")
    assert answer.status_code == 422
    assert [(fault["loc"][1], fault["type"]) for fault in answer.json["detail"]] == faults


def test_a_record_that_no_receiver_would_read_is_refused(
    collected: ResourceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert collected.get(WINDOW).status_code == 200
    # two responses, with two signatures each, and ours
    monkeypatch.setattr(container, "MAX_SIGNATURES", 4)
    answer = collected.get(WINDOW)
    assert (answer.status_code, answer.json["error"]) == (422, "invalid_request")
    assert "more meters and months than one report" in answer.json["error_description"]
    assert [(fault["loc"], fault["type"]) for fault in answer.json["detail"]] == [
        (["query", "from"], "report_too_long")
    ]
    monkeypatch.setattr(container, "MAX_SIGNATURES", 5)
    assert collected.get(WINDOW).status_code == 200
    # and where there are too many responses, none of their records is read
    monkeypatch.setattr(report, "MOST_RESPONSES", 1)
    monkeypatch.setattr(connections, "records", lambda *_: pytest.fail("a record was read"))
    assert collected.get(WINDOW).status_code == 422


def test_a_report_that_is_not_ready_is_202(cap: ResourceServer) -> None:
    connected(cap, None)
    answer = cap.get(WINDOW)
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "30")
    assert list(answer.json) == ["message"]


def test_no_months_need_no_record(cap: ResourceServer) -> None:
    connected(cap, TAKEN)
    assert cap.get(WINDOW).json == {"data": []}


@pytest.mark.usefixtures("not_asked")
def test_without_a_token_there_is_nothing(collected: ResourceServer) -> None:
    answer = collected.call(WINDOW)
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")
