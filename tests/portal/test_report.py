"""The report that an SME downloads for a bank: the same figures everywhere, and nobody else's."""

import csv
import io
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from html import unescape
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from pypdf import PdfReader

from consent_server import clock, store
from consent_server.collect import report
from consent_server.deployment import current
from consent_server.documents import data, parts, verify
from consent_server.documents.verify import Trusted
from consent_server.portal import making
from consent_server.resource.emissions import emissions
from consent_server.resource.window import Window
from consent_server.scheme import instant
from consent_server.scheme.permission import Act
from consent_server.store import accounts, collecting, connections, permissions
from consent_server.store.rows import table_of
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import CollectedWindow, MeterMonth
from consent_server.store.tables.permissions import Permission
from tests import records
from tests.deployments import deploy, in_new_database, settings_of
from tests.portal.conftest import BANK, SETTINGS, Portal

START, END = instant.parse("2025-03-01T00:00:00Z"), instant.parse("2026-03-01T00:00:00Z")
GAP = instant.parse("2025-05-01T00:00:00Z")

# Nothing here depends on the database: tests/collect has the sums on both.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def portal(database_url: str, held_clock: Any) -> Iterator[Portal]:
    """The CAP of the layout itself, whose signing certificate is its own."""
    ours = {name: value for name, value in SETTINGS.items() if not name.startswith(("member.", "scheme.directory"))}
    portal = Portal(deploy(settings_of("cap", database_url, {**ours, "limits.reports_per_account": 6})))
    with in_new_database(portal.app):
        with store.writing() as c:
            for name in ("kelham", "wensum"):
                accounts.add(c, SmeAccount(id=name, email=f"office@{name}.example", business="Kelham Ltd", created=0))
        yield portal


def released(portal: Portal, **options: Any) -> tuple[Any, str]:
    """A browser of an SME with a year of readings, a month of gas left out, and a permission of a bank."""
    browser = portal.connected()
    connection = portal.connections()[0].id
    portal.collected(connection, lacking={("gas", GAP): "partial"})
    with store.writing() as c:
        for row in connections.collected(c, connection):
            record = records.received(row.window_start, row.window_end, row.at, row.fuel)
            collecting.put_window(c, row._replace(record=orjson.dumps(record)))
    return browser, portal.released("p1", on=[connection], **options)


def fetched_month_by_month(portal: Portal) -> None:
    with store.writing() as c:
        for row in connections.collected(c, portal.connections()[0].id):
            start = START
            while start < END:
                end = instant.next_month(start)
                record = orjson.dumps(records.received(start, end, row.at, row.fuel))
                collecting.put_window(c, row._replace(window_start=start, window_end=end, record=record))
                start = end
            gone = table_of(CollectedWindow)
            c.execute(gone.delete().where(gone.c.window_end - gone.c.window_start > 31 * instant.DAY))


def api(permission: str) -> dict[str, Any]:
    """What the bank gets from /emissions."""
    with store.reading() as c:
        row = permissions.find(c, permission)
    assert row is not None
    token: Any = SimpleNamespace(
        status_idx=row.status_index, scope=row.license, fuels=tuple(row.fuels), client_id=row.client_id, permission=row
    )
    release: Any = SimpleNamespace(
        token=token, account=row.account, fuels=frozenset(row.fuels), caller=SimpleNamespace(member=row.member)
    )
    answer = emissions(release, Window(START, END), clock.now())
    return orjson.loads(b"".join(answer.body))


def tables(html: str) -> dict[str, list[list[str]]]:
    """The cells of each table of a page, by its caption."""
    found = re.findall(r"<caption><span>(.*?)</span></caption>(.*?)</table>", html, re.DOTALL)
    rows = {caption: re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL) for caption, body in found}
    cell = re.compile(r"<t[hd][^>]*>(.*?)</t[hd]>")
    return {caption: [cell.findall(row) for row in of_table] for caption, of_table in rows.items()}


def test_the_same_figures_from_api_pages_pdf_csv_and_json(portal: Portal) -> None:
    browser, permission = released(portal)
    told = {(each["type"], each["from"]): each["emissions"]["value"] for each in api(permission)["data"]}
    assert len(told) == 23

    page = browser.open("/result").html
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    rows = [re.findall(r"<td>(?:<span[^>]*>)?([0-9.]+|–)", row) for row in body.split("<tr>")[1:]]
    starts = [START]
    while len(starts) < 12:
        starts.append(instant.next_month(starts[-1]))
    keys = [[(fuel, instant.text(start)) for fuel in ("electricity", "gas")] for start in starts]
    assert rows == [[f"{told[key] / 1000:.3f}" if key in told else "–" for key in pair] for pair in keys]

    page = browser.open(f"/report?permission={permission}").html
    assert '<body class="wide">' in page
    assert f"Wharfside Bank, {BANK}" in page
    assert "was not read from the government&#39;s file" in page
    welsh = browser.client.get(f"/report?permission={permission}", headers={"Accept-Language": "cy"}).text
    assert "Mae’r adroddiad yn Saesneg, fel y mae’r banc yn ei gael." in welsh
    assert set(re.findall(r'<(?:h1|h2|dl|figure)[^>]* lang="(\w+)"', welsh)) == {"en"}
    told_there = tables(page)
    assert tables(welsh) == told_there
    for fuel, name in (("electricity", "Electricity"), ("gas", "Gas")):
        of_fuel = [value for (each, _), value in told.items() if each == fuel]
        _, *months, total = told_there[f"{name} by month"]
        _, site = told_there[f"{name} by site, all reported months"]
        unit = {"electricity": "kg CO2", "gas": "kg CO2e"}[fuel]
        there = [row for row in months if row[-1] != "left out"]
        assert [row[-3:-1] for row in there] == [[f"{value:,.2f}", unit] for value in of_fuel]
        assert [row[0] for row in months if row not in there] == (["May 2025"] if fuel == "gas" else [])
        assert total[-3:-1] == site[-2:] == [f"{math.fsum(of_fuel):,.2f}", unit]
    assert told_there["Months that are left out"][1][:2] == ["May 2025", "Gas"]
    assert re.findall(r"<text[^>]*>(\d\.\d\d)</text>", page) == [
        f"{told[key] / 1000:.2f}" for pair in keys for key in pair if key in told
    ]

    table = list(csv.DictReader(io.StringIO(browser.open(f"/report.csv?permission={permission}").html)))
    assert {(row["fuel"], row["from"]): float(row["kilograms"]) for row in table if row["kilograms"]} == told
    (left_out,) = (row for row in table if not row["kilograms"])
    assert (left_out["fuel"], left_out["from"]) == ("gas", "2025-05-01T00:00:00Z")

    held = orjson.loads(browser.open(f"/report.json?permission={permission}").html)
    assert {(each["fuel"], each["start"]): each["kilograms"] for each in held["months"]} == told

    file = browser.open(f"/report.pdf?permission={permission}").response.get_data()
    here = current()
    found = verify.verify(
        file, Trusted(here.signing_root, here.settings.scheme.trust_framework, recipient=BANK), clock.now()
    )
    assert {(each.fuel, each.start): each.kilograms for each in found.data.months} == told
    text = " ".join(page.extract_text() for page in PdfReader(io.BytesIO(file)).pages)
    for value in told.values():
        assert f" {value:,.2f} kg" in text
    assert f"{sum(v for (fuel, _), v in told.items() if fuel == 'gas'):,.2f} kg CO2e" in text


def test_a_report_that_no_record_can_hold_is_divided_by_months(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    browser, permission = released(portal)
    (whole,) = re.findall(r'href="/report.json\?([^"]*)"', browser.open("/result").html)
    told = orjson.loads(browser.open(f"/report.json?{whole}").html)["months"]
    monkeypatch.setattr(report, "MOST_RESPONSES", 8)
    fetched_month_by_month(portal)
    result = browser.open("/result").html
    asked = [unescape(each) for each in re.findall(r'href="/report.json\?([^"]*)"', result)]
    assert asked == [f"permission=p1&from={first}&to={last}" for first, last in PARTS]
    assert "so many meters behind it that it is divided by months" in result
    text = dict(re.findall(r'<(?:a|span)[^>]* id="(part-[^"]*)"[^>]*>(.*?)</(?:a|span)>', result))
    links = re.findall(r'<a href="/report[^"]*"[^>]* aria-labelledby="([^"]*)"', result)
    names = [" ".join(text[each] for each in link.split()) for link in links]
    assert len({*names}) == len(names) == 4 * len(PARTS), "links are told apart by their names"
    divided = [data.read(browser.open(f"/report.json?{each}").response.get_data()) for each in asked]
    assert [*parts.misfits(divided)] == []
    assert sorted((each.fuel, each.start) for part in divided for each in part.months) == [
        (month["fuel"], month["start"]) for month in told
    ]
    file = browser.open(f"/report.pdf?{asked[0]}").response.get_data()
    here = current()
    found = verify.verify(
        file, Trusted(here.signing_root, here.settings.scheme.trust_framework, recipient=BANK), clock.now()
    )
    assert (found.data.start, found.data.end) == ("2025-03-01T00:00:00Z", "2025-07-01T00:00:00Z")
    assert browser.open(f"/report.json?permission={permission}").status == 422

    portal.released("p2")  # made out from no connection
    with store.writing() as c:
        c.execute(table_of(Permission).update().where(table_of(Permission).c.id == "p1").values(expires=clock.now()))
    assert "divided by months" not in browser.open("/result").html, "the report of a bank that gets one no more"


def test_where_no_month_is_complete_the_business_reads_that_there_is_no_report(portal: Portal) -> None:
    """Electricity has figures; the gas that the bank may have does not."""
    browser, permission = released(portal)
    connection = portal.connections()[0].id
    with store.writing() as c:
        c.execute(table_of(Permission).update().values(fuels=["gas"]))
        c.execute(table_of(MeterMonth).update().where(table_of(MeterMonth).c.fuel == "gas").values(half_hours=0))
    result = browser.open("/result").html
    said = "there is no report yet, because no month has complete figures for what this bank may have."
    assert f"{said}</li>" in result
    assert "/report" not in result
    welsh = browser.client.get("/result", headers={"Accept-Language": "cy"}).text
    assert ": nid oes adroddiad eto, oherwydd" in welsh
    page = browser.open(f"/report?permission={permission}")
    assert (page.status, page.html.count(report.NoMonthToReport.public)) == (409, 2)
    for ending in ("pdf", "csv", "json"):
        assert browser.open(f"/report.{ending}?permission={permission}").status == 409
    with store.writing() as c:
        connections.forget_data(c, connection)
    result = browser.open("/result").html
    assert f"{said}</li>" in result


def test_every_part_of_a_divided_report_has_a_month(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The months that no reading completes do not begin a part, and count in none."""
    browser, _ = released(portal)
    monkeypatch.setattr(report, "MOST_RESPONSES", 2)  # what came in one window stands behind each month
    incomplete = [instant.months_later(START, number) for number in (0, 1, 4, 5, 6, 7, 11)]
    with store.writing() as c:
        months = table_of(MeterMonth)
        c.execute(months.update().where(months.c.start.in_(incomplete)).values(half_hours=0))
    fetched_month_by_month(portal)
    asked = [unescape(each) for each in re.findall(r'href="/report.json\?([^"]*)"', browser.open("/result").html)]
    divided = [data.read(browser.open(f"/report.json?{each}").response.get_data()) for each in asked]
    assert [len({month.start for month in each.months}) for each in divided] == [1] * 5
    assert [*parts.misfits(divided)] == []


PARTS = [("2025-03", "2025-06"), ("2025-07", "2025-10"), ("2025-11", "2026-02")]


def test_other_months_than_those_of_the_year_are_no_report(portal: Portal) -> None:
    browser, permission = released(portal)
    for window in (
        *(
            "from=2025-02&to=2026-02",
            "from=2025-03&to=2026-03",
            "from=2025-06&to=2025-05",
        ),  # beyond the year, and reversed
        *("from=2025-06", "from=2025-6&to=2025-07", "from=2025-06&to=9999-12"),
    ):
        assert browser.open(f"/report.json?permission={permission}&{window}").status == 404, window


def test_what_a_download_is_called_and_that_nothing_keeps_it(portal: Portal) -> None:
    browser, permission = released(portal)
    for ending in ("pdf", "csv", "json"):
        headers = browser.open(f"/report.{ending}?permission={permission}").response.headers
        name = f"emissions-report-2025-03-to-2026-02.{ending}"
        assert headers["Content-Disposition"] == f'attachment; filename="{name}"'
        assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


def test_the_page_says_what_is_missing_and_then_offers_the_report(portal: Portal) -> None:
    browser, permission = released(portal)
    html = browser.open("/result").html
    assert html.index("What is missing, and why") < html.index(f"/report.pdf?permission={permission}")
    with store.writing() as c:
        ended = permissions.find(c, permission)
        permissions.end(c, ended, Act.WITHDRAW, at=clock.now(), by="sme", where="portal", why="test")
    assert "/report.pdf" not in browser.open("/result").html


def test_a_permission_that_ends_while_its_report_is_made_gets_none(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, permission = released(portal)
    made = report.provenance

    def withdrawn_meanwhile(*given: Any) -> Any:
        found = made(*given)
        with store.writing() as c:
            row = permissions.find(c, permission)
            permissions.end(c, row, Act.WITHDRAW, at=clock.now(), by="sme", where="portal", why="test")
        return found

    monkeypatch.setattr(report, "provenance", withdrawn_meanwhile)
    assert browser.open(f"/report.json?permission={permission}").status == 404


@pytest.mark.parametrize("case", ["unknown", "another's", "withdrawn", "never redeemed"])
def test_no_report_without_a_live_permission_of_ones_own(portal: Portal, case: str) -> None:
    browser, permission = released(portal, redeemed=case != "never redeemed")
    if case == "unknown":
        permission = "p2"
    if case == "another's":
        browser = portal.signed_in("office@wensum.example")
    with store.writing() as c:
        if case == "withdrawn":
            ended = permissions.find(c, permission)
            permissions.end(c, ended, Act.WITHDRAW, at=clock.now(), by="sme", where="portal", why="test")
    for ending in ("pdf", "csv", "json"):
        assert browser.open(f"/report.{ending}?permission={permission}").status == 404


def test_nobody_gets_a_report_without_signing_in(portal: Portal) -> None:
    _, permission = released(portal)
    assert portal.browser().open(f"/report.pdf?permission={permission}").path == "/sign-in"


def test_a_bank_that_the_directory_does_not_name_gets_none(portal: Portal) -> None:
    browser, permission = released(portal)
    portal.directory.down = True
    assert browser.open(f"/report.pdf?permission={permission}").status == 503


def test_of_one_account_one_pdf_is_made_at_a_time(portal: Portal) -> None:
    browser, permission = released(portal)
    with making.place("kelham"):
        busy = browser.open(f"/report.pdf?permission={permission}")
        assert (busy.status, busy.response.headers["Retry-After"]) == (503, "10")
        with making.place("wensum"):  # another's has its place meanwhile
            assert browser.open(f"/report.csv?permission={permission}").status == 200
    with making.place("kelham"):
        pass


def test_many_accounts_wait_in_line_and_no_more_than_it_holds(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "LONGEST_S", 0.05)
    with ExitStack() as held:
        for number in range(making.MOST):
            held.enter_context(making.place(str(number)))
        with pytest.raises(making.ReportBusy), making.place("kelham"):
            pytest.fail("there is no place")
        monkeypatch.setattr(making, "MOST_IN_LINE", 0)
        with pytest.raises(making.ReportBusy), making.place("kelham"):
            pytest.fail("the line is full")
    with making.place("kelham"):
        pass


def test_a_budget_of_reports(portal: Portal) -> None:
    browser, permission = released(portal)
    asked = [browser.open(f"/report.csv?permission={permission}").status for _ in range(6)]
    with patch.object(report, "report", side_effect=AssertionError("worked out before the budget was looked at")):
        asked.append(browser.open(f"/report.csv?permission={permission}").status)
    assert asked == [200] * 6 + [429]
    assert "Many reports have just been made" in browser.html
    assert int(browser.response.headers["Retry-After"]) > 0
