"""`meters load` and `readings load` at a command line: what they say, keep, and end with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from click.testing import Result

from consent_server import store
from consent_server.scheme import instant
from consent_server.scheme.packed import HEADER
from consent_server.settings import load
from consent_server.store import audit_events, readings
from consent_server.store.database import db, opened

Command = Callable[..., Result]
COLUMNS = "meter_id,sme_id,business,mpan,mprn,postcode,measures,site,since,until,capacity,customer"
GOOD = {
    "meter_id": "m-1",
    "sme_id": "acme",
    "business": "Acme Ltd",
    "mpan": "1212345678902",
    "mprn": "",
    "postcode": "sw8 1aa",
    "measures": "",
    "site": "",
    "since": "",
    "until": "",
    "capacity": "",
    "customer": "",
}


def meter(**changed: str) -> str:
    return ",".join((GOOD | changed).values())


def run(command: Command, deployment: Path, what: str, text: str, *more: object) -> Result:
    path = deployment.parent / "file.csv"
    path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    return command(what, "load", "--config", deployment, path, *more)


def set_aside(command: Command, deployment: Path) -> list[dict[str, Any]]:
    lines = command("readings", "set-aside", "--config", deployment).stdout.splitlines()
    return [json.loads(line) for line in lines]


def kept(deployment: Path) -> list[Any]:
    with opened(load(deployment).database), store.reading() as c:
        meters = db.metadata.tables["meter"]
        return list(c.execute(sa.select(meters).order_by(meters.c.id, meters.c.since)))


def test_meters_are_loaded_and_loaded_again(command: Command, deployment: Path) -> None:
    before = len(kept(deployment))
    gas = meter(
        meter_id="m-2", mpan="", mprn="3938424403", since="2025-07-01", capacity="U16", site="South Lambeth Road"
    )
    for _ in range(2):
        result = run(
            command,
            deployment,
            "meters",
            "\n".join((COLUMNS, meter(measures="export;import;", capacity="69", customer="C-1"), gas)),
        )
        assert (result.exit_code, result.output) == (0, "2 taken, 0 without a value, 0 set aside, 0 refused\n")
    first, second = [row for row in kept(deployment) if row.sme == "acme" and row.id in ("m-1", "m-2")]
    assert len(kept(deployment)) == before + 2
    assert (first.postcode, first.outcode, first.measures, first.capacity) == (
        "SW8 1AA",
        "SW8",
        ["import", "export"],
        69,
    )
    assert (second.fuel, second.capacity, second.site) == ("gas", 16, "South Lambeth Road")
    assert (first.customer, second.customer) == ("C-1", None)
    assert second.since == instant.parse("2025-07-01T00:00:00+01:00")


@pytest.mark.parametrize("backwards", [False, True])
def test_D6_the_later_tenancy_ends_the_earlier(command: Command, deployment: Path, backwards: bool) -> None:
    lines = [meter(since="2024-01-01"), meter(sme_id="florist", business="Florist", since="2026-01-01")]
    for line in lines[::-1] if backwards else lines:
        assert run(command, deployment, "meters", f"{COLUMNS}\n{line}\n").exit_code == 0
    moved = instant.parse("2026-01-01T00:00:00Z")
    assert [(row.sme, row.until) for row in kept(deployment) if row.id == "m-1"] == [("acme", moved), ("florist", None)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (meter(meter_id=""), "meter_id or sme_id is empty, or longer than 48 characters"),
        (meter(meter_id="m" * 49), "meter_id or sme_id is empty, or longer than 48 characters"),
        (meter(business=""), "the business has no name, or the name or the site is longer than 200 characters"),
        (meter(meter_id="m\u200b-1"), "meter_id, sme_id or customer has a character that cannot be seen"),
        (meter(mpan="12"), "the MPAN has not 13 digits, the first two at least 10"),
        (meter(mpan="", mprn="39384244.0"), "the MPRN is a decimal number, as spreadsheets write it"),
        (meter(mpan="", mprn="9.876543E+06"), "the MPRN is a decimal number, as spreadsheets write it"),
        (meter(mpan="", mprn="0000000000"), "the MPRN is all zeros"),
        (meter(mpan=""), "a line has one number, in the column mpan or mprn"),
        (meter(mprn="3938424403"), "a line has one number, in the column mpan or mprn"),
        (meter(postcode="BT1 1AA"), "This service covers England, Scotland and Wales only."),
        (meter(measures="both"), "measures is import, export or “import export”"),
        (meter(since="1 May"), "since or until is no date such as 2026-03-12, and no 2026"),
        (meter(since="2025-01-01", until="2025-01-01"), "until is not after since"),
        (meter(capacity="big"), "a capacity is a number of kVA"),
        (meter(customer="c" * 201), "the customer is longer than 200 characters"),
        (meter(sme_id="florist"), "the meter is there twice with the same beginning, and says two things"),
        (meter(meter_id="m-2"), "the number is another meter's"),
        (meter(mpan="1200000000001", since="2026-01-01"), "the meter has another number in the register"),
    ],
)
def test_a_meter_is_refused_by_its_line(command: Command, deployment: Path, line: str, reason: str) -> None:
    result = run(command, deployment, "meters", f"{COLUMNS}\n{meter()}\n{line}\n")
    assert result.exit_code == 3
    assert f"refused: {reason}" in result.output
    assert result.output.endswith(": line 3\n")
    assert [row.sme for row in kept(deployment) if row.id == "m-1"] == ["acme"]
    assert "1212345678902" not in result.output


@pytest.mark.parametrize("changed", [{"meter_id": ["m-1"]}, {"sme_id": True}])
def test_a_meter_in_json_is_text_and_numbers(command: Command, deployment: Path, changed: dict[str, Any]) -> None:
    rows = [GOOD | {"mpan": 1212345678902}, GOOD | {"mpan": 1212345678911, "meter_id": "m-2"} | changed]
    result = run(command, deployment, "meters", json.dumps(rows))
    assert (result.exit_code, "a member is neither text nor a number: line 2" in result.output) == (3, True)


def test_D6_nobody_takes_a_meter_over_without_a_date(command: Command, deployment: Path) -> None:
    assert run(command, deployment, "meters", f"{COLUMNS}\n{meter(since='2024-01-01')}\n").exit_code == 0
    result = run(command, deployment, "meters", f"{COLUMNS}\n{meter(sme_id='florist')}\n")
    assert (result.exit_code, "since must say when it changes hands" in result.output) == (1, True)
    assert run(command, deployment, "meters", f"{COLUMNS}\n{meter(business='Acme plc')}\n").exit_code == 0
    assert [(row.business, row.since) for row in kept(deployment) if row.id == "m-1"] == [
        ("Acme plc", instant.parse("2024-01-01T00:00:00Z"))
    ]


def test_a_wrong_check_digit_is_said_and_taken(command: Command, deployment: Path) -> None:
    result = run(command, deployment, "meters", f"{COLUMNS}\n{meter(mpan='1212345678903')}\n")
    assert (result.exit_code, "noted: the number's check digit is not right" in result.output) == (0, True)


def test_a_dry_run_of_meters_keeps_nothing(command: Command, deployment: Path) -> None:
    before = kept(deployment)
    assert run(command, deployment, "meters", f"{COLUMNS}\n{meter()}\n", "--dry-run").exit_code == 0
    assert kept(deployment) == before


READING = "meter_id,from,value,unit\n"


@pytest.mark.parametrize(
    ("lines", "more", "status", "says"),
    [
        (["m-1,2026-03-01T00:00:00Z,1,kWh"], [], 0, "1 taken, 0 without a value, 0 set aside, 0 refused"),
        (["m-1,2026-03-01T00:00:00Z,1,kWh", "m-1,2026-03-01T00:30:00Z,-1,kWh"], [], 3, "beyond any meter: line 3"),
        (["m-9,2026-03-01T00:00:00Z,1,kWh"], [], 1, "load it first, with `meters load`: line 2"),
        (["m-1,2026-03-01T00:00:00Z,35,kWh"], [], 1, "set aside: more than the supply can carry: line 2"),
        ([], ["--layout", "help"], 2, "low-carbon-london: LCLid"),
        ([], ["--zone", "Mars/Base"], 2, "is no zone"),
        ([], ["--taken-at", "today"], 2, "no instant"),
    ],
)
def test_the_exit_status_of_readings_is_to_script_by(
    command: Command, deployment: Path, lines: list[str], more: list[str], status: int, says: str
) -> None:
    assert run(command, deployment, "meters", f"{COLUMNS}\n{meter(capacity='34')}\n").exit_code == 0
    result = run(command, deployment, "readings", READING + "\n".join(lines), *more)
    assert (result.exit_code, says in result.output) == (status, True), result.output


def test_a_file_that_cannot_be_read_ends_the_load_with_what_was_done(command: Command, deployment: Path) -> None:
    assert run(command, deployment, "meters", f"{COLUMNS}\n{meter()}\n").exit_code == 0
    bad = deployment.parent / "bad.parquet"
    bad.write_bytes(b"PAR1 and no more")
    result = run(command, deployment, "readings", READING + "m-1,2026-03-01T00:00:00Z,1,kWh\n", bad)
    assert (result.exit_code, "1 taken" in result.output) == (1, True)
    assert "Error: " in result.output
    assert "damaged after row 0" in result.output


def test_what_is_set_aside_is_listed_and_decided(command: Command, deployment: Path) -> None:
    run(command, deployment, "meters", "\n".join((COLUMNS, meter(meter_id="1212345678902", capacity="69"))))
    text = "meter_id,from,value,unit\n" + "".join(
        f"1212345678902,2026-03-01T0{hour}:00:00Z,{value},kWh\n" for hour, value in enumerate((0.5, 80, 90))
    )
    assert "2 set aside" in run(command, deployment, "readings", text).stdout

    def decide(what: str, id_: str, *more: str, why: str = "the bakery's new oven", by: str = "Ada") -> Result:
        return command("readings", what, "--config", deployment, id_, "--why", why, "--by", by, *more)

    def values() -> list[float]:
        with opened(load(deployment).database), store.reading() as c:
            blocks = readings.kept(c, ["1212345678902"], "import", 0, 1 << 40)
        return [each["energy"]["value"] for row in blocks for each in orjson.loads(b"[" + bytes(row.body) + b"]")]

    first, second = set_aside(command, deployment)
    assert [(each["from"], each["value"], each["unit"], each["reason"]) for each in (first, second)] == [
        ("2026-03-01T01:00:00Z", 80_000, "WHR", "more than the supply can carry"),
        ("2026-03-01T02:00:00Z", 90_000, "WHR", "more than the supply can carry"),
    ]
    assert [(each["file"], each["line"]) for each in (first, second)] == [("file.csv", 3), ("file.csv", 4)]
    assert "1212345678902" not in json.dumps(first)
    assert decide("release", first["id"], why=" ").exit_code == 1
    assert decide("release", first["id"], by="1212345678902").exit_code == 1
    assert decide("discard", "0" * 16).exit_code == 1
    assert (set_aside(command, deployment), values()) == ([first, second], [500])
    assert decide("release", first["id"]).exit_code == 0
    assert f'"id": "{second["id"]}"' in decide("discard", second["id"], "--dry-run").output
    assert set_aside(command, deployment) == [second]
    assert decide("discard", second["id"], "--yes").exit_code == 0
    assert (set_aside(command, deployment), values()) == ([], [500, 80_000])
    assert decide("release", first["id"]).exit_code == 1
    with opened(load(deployment).database), store.reading() as c:
        events = audit_events.newest(c, 2)
    assert [(each.event, each.fields["meter"], each.fields["by"], each.fields["half_hour"]) for each in events] == [
        ("reading_released", first["meter"], "Ada", first["from"]),
        ("reading_discarded", second["meter"], "Ada", second["from"]),
    ]
    kept = json.dumps([each.fields for each in events])
    assert not any(told in kept for told in ("1212345678902", first["id"], second["id"]))


def test_a_dispute_is_not_released(command: Command, deployment: Path) -> None:
    run(command, deployment, "meters", "\n".join((COLUMNS, meter())))
    text = "meter_id,from,value,unit\nm-1,2026-03-01T00:00:00Z,1,kWh\nm-1,2026-03-01T00:00:00Z,2,kWh\n"
    run(command, deployment, "readings", text)

    [disputed] = set_aside(command, deployment)
    assert (disputed["file"], disputed["line"]) == ("file.csv", 3)
    other = deployment.parent / "20260301-1212345678902-m-1.csv"
    other.write_text("meter_id,from,value,unit\n\nm-1,2026-03-01T00:30:00Z,1,kWh\n", encoding="utf-8")
    command("readings", "load", "--config", deployment, other)
    assert set_aside(command, deployment) == [disputed], "another half-hour of the day leaves it as it is"
    other.write_text("meter_id,from,value,unit\n\nm-1,2026-03-01T00:00:00Z,3,kWh\n", encoding="utf-8")
    command("readings", "load", "--config", deployment, other)
    [disputed] = set_aside(command, deployment)
    assert (disputed["file"], disputed["line"]) == ("20260301-••••••••• 8902-•••.csv", 3)
    result = command("readings", "release", "--config", deployment, disputed["id"], "--why", "a", "--by", "Ada")
    assert (result.exit_code, "in dispute" in result.stderr) == (1, True)


def test_day_blocks_are_packed_and_unpacked(command: Command, deployment: Path) -> None:
    run(command, deployment, "meters", "\n".join((COLUMNS, meter())))
    run(command, deployment, "readings", READING + "m-1,2026-03-01T00:00:00Z,1,kWh\nm-1,2026-03-02T00:00:00Z,1,kWh\n")
    said = [
        command("readings", "pack", "--config", deployment, *more).stdout
        for more in ((), ("--undo",), ("--undo",), (), ())
    ]
    assert said == [
        "0 day blocks packed\n",
        "2 day blocks unpacked\n",
        "0 day blocks unpacked\n",
        "2 day blocks packed\n",
        "0 day blocks packed\n",
    ]


@pytest.mark.parametrize("undo", [False, True], ids=["load", "pack"])
def test_a_damaged_day_ends_a_command_with_one_sentence(command: Command, deployment: Path, undo: bool) -> None:
    assert run(command, deployment, "meters", f"{COLUMNS}\n{meter(meter_id='meter-1')}\n").exit_code == 0
    text = READING + "meter-1,2026-03-01T00:00:00Z,1,kWh\n"
    assert run(command, deployment, "readings", text).exit_code == 0
    with opened(load(deployment).database), store.writing() as c:
        c.execute(sa.update(db.metadata.tables["day_block"]).values(body=HEADER + b"no deflate"))
    if undo:
        result = command("readings", "pack", "--undo", "--config", deployment)
    else:
        result = run(command, deployment, "readings", text.replace("00:00:00", "00:30:00"))
    assert (result.exit_code, [line for line in result.stderr.splitlines() if line != "file.csv"]) == (
        1,
        [
            "Error: meter ••• er-1, import: the day block of 2026-03-01 is damaged: "
            "restore its row of day_block from the back-up, or delete the row and load that day again"
        ],
    )
