"""`consent-server subject` and what it leaves of a business: found, exported, erased in one transaction, and certified."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from consent_server import clock, create_app, store
from consent_server.metering.own import OwnReadings
from consent_server.metering.readings import Held
from consent_server.parties.operator import subjects
from consent_server.parties.operator.records import CommandFailed
from consent_server.parties.operator.subjects import SubjectQuery
from consent_server.pki.member_certificate import load_certificates
from consent_server.sandbox.layout import Layout
from consent_server.scheme import deletion, instant
from consent_server.scheme.instant import DAY
from consent_server.scheme.signed_document import DocumentFault
from consent_server.settings import load
from consent_server.store import (
    evidence,
    journeys,
    meters,
    permissions,
    readings,
    receipt_addresses,
    released,
    rows,
    sessions,
)
from consent_server.store.tables.journeys import PushedRequest
from consent_server.store.tables.metering import Meter
from consent_server.store.tables.owed import ReceiptLink
from consent_server.store.tables.permissions import Evidence, MeterAlias, Permission

BUSINESS, EMAIL = "Hearth & Crumb Bakery Ltd", "owner@hearth.example"
NUMBER, POSTCODE = "1212345678902", "SW8 1AA"
NOW = clock.now()
DAY_READ = instant.day_start(NOW) - 3 * DAY
READING = (
    f'{{"from":"{instant.text(DAY_READ)}","to":"{instant.text(DAY_READ + 1800)}","energy":{{"value":0.5}}}}'.encode()
)
#: What would tell who the business is.
TELLING = (BUSINESS, EMAIL, NUMBER, POSTCODE, "Ada Smith", "192.0.2.7")


def granted(c: Any, name: str, sme: str, at: int, **changed: Any) -> None:
    who: Any = {"business": BUSINESS, "name": "Ada Smith", "capacity": "", "method": "bill", "strength": "knowledge"}
    kept: Any = [
        {"id": f"m-{sme}", "fuel": "electricity", "measures": ["import"], "masked": "… 8902", "outcode": "SW8"}
    ]
    license_, member = "https://registry.example/license/l", "https://directory.example/m/member"
    row = Permission(
        name, f"account-{name}", "https://directory.example/a/app", member, license_, ["electricity"], "0" * 64, sme, kept,
        [], at, at + 365 * DAY, f"refresh-{name}", 1, redeemed=at,
    )  # fmt: skip
    permissions.add(c, row._replace(**changed))
    shown = {"client": "A CAP", "host": "An EDP", "license": "Energy"}
    seen = Evidence(
        f"e-{name}", name, at, license_, "Text", "0" * 64, "0" * 64, "client", shown, who, kept, "192.0.2.7", "", "-"
    )
    evidence.add(c, seen)
    receipt_addresses.add(c, name, EMAIL)
    rows.add(c, ReceiptLink(name.ljust(64, "0"), name))
    released.note(c, f"account-{name}", DAY_READ, DAY_READ + DAY, NOW)
    rows.add(c, MeterAlias(f"source-{name}.0", f"client-{name}", sme, f"m-{sme}"))


def filled(c: Any, sme: str, number: str, business: str) -> None:
    """A business with a live permission, one that ended, and something of each table that an EDP fills."""
    granted(c, f"{sme}-live", sme, NOW - DAY)
    granted(c, f"{sme}-over", sme, NOW - 30 * DAY, ended=NOW - DAY, ended_as="withdrawn", ended_by="sme")
    meters.add(c, Meter(f"m-{sme}", sme, business, "electricity", number, POSTCODE, "SW8", ["import"]))
    readings.put_days(c, "edp", f"m-{sme}", "import", {DAY_READ: READING})
    sessions.make(c, f"session-{sme}", "manage", {"sme": sme, "business": business}, NOW)
    pushed = PushedRequest(
        f"request-{sme}", "client", "member", "0" * 64, "https://c.example", None, "l", "c", NOW, NOW
    )
    journeys.open(c, f"journey-{sme}", "secret", pushed, NOW)
    who: Any = {"business": business, "method": "bill", "strength": "knowledge"}
    journeys.touch(c, f"journey-{sme}", NOW, {"identified": {"sme": sme, "meters": [], "who": who}})


@pytest.fixture
def edp(deployment: Path, prepared: Layout) -> Path:
    """An EDP of two businesses, of which the one asks."""
    shutil.copy(prepared.party("edp") / "keys/customers_secret", deployment.parent / "keys")
    app = create_app(load(deployment), "mutual_tls")
    with app.app_context(), store.writing() as c:
        filled(c, "one", NUMBER, BUSINESS)
        filled(c, "two", "2300000000001", "Another Ltd")
    return deployment


def counts(config: Path) -> dict[str, int]:
    """Rows of every table."""
    c = sqlite3.connect(config.parent / "store.db")
    names = [name for (name,) in c.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: c.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
    c.close()
    return found


def one(config: Path, query: str) -> list[Any]:
    c = sqlite3.connect(config.parent / "store.db")
    found = [value for (value,) in c.execute(query)]
    c.close()
    return found


FOUND: tuple[tuple[dict[str, str], list[str]], ...] = (
    ({"business": BUSINESS}, ["one", "two"]),  # the evidence of both names it
    ({"business": "ANOTHER ltd"}, ["two"]),
    ({"email": f" {EMAIL.upper()}"}, ["one", "two"]),
    ({"meter": "12 1234 5678 902"}, ["one"]),
    ({"meter": NUMBER, "postcode": "sw81aa"}, ["one"]),
    ({"meter": NUMBER, "postcode": "SW8 1AB"}, []),
    ({"postcode": "sw8 1aa"}, ["one", "two"]),
    ({"permission": "two-over"}, ["two"]),
    ({"subject": "one"}, ["one"]),
    ({"subject": "three"}, []),
    ({"permission": "-unknown"}, []),
)
NOT_A_QUESTION: tuple[tuple[dict[str, str], str], ...] = (
    ({}, "name one of --business"),
    ({"business": BUSINESS, "email": EMAIL}, "name one of --business"),
    ({"email": "nobody"}, "write an address such as"),
    ({"meter": "123"}, "6 to 10 digits"),
    ({"postcode": "nowhere"}, "such as SW8 1AA"),
)


def test_a_business_is_found_by_what_it_is_known_by(edp: Path) -> None:
    with create_app(load(edp), "public").app_context():
        for given, found in FOUND:
            assert subjects.find(SubjectQuery(**given)) == found, given
        for given, said in NOT_A_QUESTION:
            with pytest.raises(CommandFailed, match=said):
                subjects.find(SubjectQuery(**given))


def test_what_is_found_is_shown_by_ids_alone(edp: Path, command: Callable[..., Result]) -> None:
    result = command("subject", "find", "--config", edp, "--business", BUSINESS)
    assert result.exit_code == 0, result.output
    assert [line for line in result.output.splitlines() if line.startswith("subject")] == ["subject one", "subject two"]
    assert not [each for each in (*TELLING, "Another Ltd") if each in result.output]
    assert result.output.count("stays  permission: 2, until") == 2


WRONG = (
    (["find", "--permission", "-unknown"], "nothing is held"),
    (["export", "--business", BUSINESS, "--out", "new"], "name one by --subject: one, two"),
    (["export", "--subject", "one", "--out", "."], "is there already"),
    (["erase", "--subject", "three"], "nothing is held"),
    (["erase", "--subject", "one", "--yes"], "--yes goes with --no-dry-run"),
    (["erase", "--subject", "one", "--no-dry-run", "--by", "Desk"], "name the file for the certificate"),
    (["erase", "--subject", "one", "--no-dry-run", "--yes", "--out", "c.json"], "say who you are"),
    (["erase", "--subject", "one", "--no-dry-run", "--yes", "--by", "D", "--out", "no/such/c"], "is no folder"),
    (["certificate", "unknown"], "there is no such certificate"),
)


def test_a_wrong_argument_changes_nothing_and_says_what_to_write(
    edp: Path, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(edp.parent)
    before = counts(edp)
    files = {each for each in edp.parent.iterdir() if "store.db" not in each.name}
    for arguments, said in WRONG:
        result = command("subject", arguments[0], "--config", edp, *arguments[1:])
        assert result.exit_code != 0, arguments
        assert said in " ".join(result.output.split())
    assert counts(edp) == before
    assert {each for each in edp.parent.iterdir() if "store.db" not in each.name} == files


def test_an_export_has_everything_as_a_page_and_as_json(
    edp: Path, command: Callable[..., Result], tmp_path: Path
) -> None:
    out = tmp_path / "export"
    result = command("subject", "export", "--config", edp, "--subject", "one", "--out", out)
    assert result.exit_code == 0, result.output
    assert {each.name: each.stat().st_mode & 0o777 for each in (out, *out.iterdir())} == {
        "export": 0o700,
        "index.html": 0o600,
        "what-we-hold.json": 0o600,
    }
    held = json.loads((out / "what-we-hold.json").read_text())
    assert {each["id"] for each in held["permissions"]} == {"one-live", "one-over"}
    assert [each["fetched"] for each in held["permissions"]] == [instant.text(NOW)] * 2
    assert {(each["permission"], each["email"]) for each in held["addresses"]} == {
        ("one-live", EMAIL),
        ("one-over", EMAIL),
    }
    assert [(each["measure"], len(each["halfHours"])) for each in held["readings"]] == [("import", 1)]
    page = (out / "index.html").read_text()
    for told in ("Hearth &amp; Crumb Bakery Ltd", EMAIL, "Ada Smith", "one-live", "192.0.2.7"):
        assert told in page
    for hidden in (NUMBER, POSTCODE, "two-live", "<script", "http-equiv"):
        assert hidden not in page


def test_an_export_that_fails_on_the_way_leaves_nothing(
    edp: Path, command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OwnReadings, "half_hours", lambda *_: Held(retry_after=30))
    result = command("subject", "export", "--config", edp, "--subject", "one", "--out", tmp_path / "export")
    assert (result.exit_code, "try again in 30 s" in result.output) == (1, True)
    assert not (tmp_path / "export").exists()


def test_a_dry_run_changes_nothing_and_neither_does_no(
    edp: Path, command: Callable[..., Result], tmp_path: Path
) -> None:
    before = counts(edp)
    plan = command("subject", "erase", "--config", edp, "--subject", "one")
    assert plan.exit_code == 0
    for line in ("live   permission or connection one-live", "goes   session: 1", "goes   receipt_address: 2"):
        assert line in plan.output
    real = ("--no-dry-run", "--by", "Desk", "--out", tmp_path / "c.json")
    assert command("subject", "erase", "--config", edp, "--subject", "one", *real).exit_code == 1  # its input is empty
    assert counts(edp) == before
    assert not (tmp_path / "c.json").exists()


def test_an_erasure_withdraws_deletes_and_is_certified(
    edp: Path, command: Callable[..., Result], tmp_path: Path
) -> None:
    before, out = counts(edp), tmp_path / "c.json"
    real = ("--no-dry-run", "--yes", "--by", "Privacy desk", "--out", out)
    result = command("subject", "erase", "--config", edp, "--subject", "one", *real)
    assert result.exit_code == 0, result.output
    gone = {"session": 1, "journey": 1, "receipt_address": 2, "receipt_link": 2, "released": 2}
    more = {"outbox": 1, "audit_event": 2, "deletion_certificate": 1}
    after = counts(edp)
    assert {name: before[name] - after[name] for name in before if before[name] > after[name]} == gone
    assert {name: after[name] - before[name] for name in before if before[name] < after[name]} == more
    assert one(edp, "SELECT ended_by FROM permission WHERE id = 'one-live'") == ["operator"]
    assert one(edp, "SELECT ended FROM permission WHERE id = 'two-live'") == [None]
    assert one(edp, "SELECT subject FROM outbox") == ["one-live"]
    assert one(edp, "SELECT subject FROM owed_mail") == [], "its address is gone: the certificate takes its place"
    fields = json.loads(one(edp, "SELECT fields FROM audit_event WHERE event = 'subject_erased'")[0])
    assert (fields["by"], fields["withdrawn"], fields["rows"]) == ("Privacy desk", ["one-live"], 8)

    root = load(edp).keys.signing_root
    said = command("subject", "verify", out, "--root", root)
    assert said.exit_code == 0, said.output
    assert "for Privacy desk" in said.output
    assert "deleted  receipt_address: 2" in said.output
    for part, text in json.loads(out.read_text()).items():
        other = text[:-9] + ("A" if text[-9] != "A" else "B") + text[-8:]
        changed = json.dumps(json.loads(out.read_text()) | {part: other})
        with pytest.raises(DocumentFault):
            deletion.verify(changed.encode(), deployed_root(root), clock.now())
    again = command("subject", "certificate", "--config", edp, fields["certificate"])
    assert again.output == out.read_text()
    whole = said.output + json.dumps(deletion.verify(out.read_bytes(), deployed_root(root), clock.now())) + str(fields)
    assert not [each for each in TELLING if each in whole]
    found = command("subject", "find", "--config", edp, "--subject", "one").output
    assert "goes" not in found
    assert "live" not in found.replace("one-live", "")


def deployed_root(path: Path) -> Any:
    return load_certificates(path.read_bytes())[0]


def test_what_fails_on_the_way_leaves_nothing_half_erased(
    edp: Path, command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError

    before = counts(edp)
    monkeypatch.setattr(deletion, "certificate", fails)
    with pytest.raises(OSError):  # noqa: PT011 - any
        command(
            *("subject", "erase", "--config", edp, "--subject", "one", "--no-dry-run", "--yes"),
            *("--by", "Desk", "--out", tmp_path / "c.json"),
        )
    assert counts(edp) == before
    assert one(edp, "SELECT ended FROM permission WHERE id = 'one-live'") == [None]
    assert not (tmp_path / "c.json").exists()
