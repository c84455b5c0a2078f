"""Receipts of permissions at our own issuer: by mail where an address is known, and as a page."""

import json
import re
from html import escape
from typing import Any

import pytest

from consent_server import clock, store
from consent_server.receipts import links, mails, receipt
from consent_server.scheme import consent_receipt
from consent_server.scheme.provenance.container import Signer
from consent_server.store import permissions
from consent_server.store.digests import digest
from consent_server.store.rows import every, table_of
from consent_server.store.tables.owed import ReceiptLink
from consent_server.store.tables.permissions import Evidence
from consent_server.web import pages
from tests.journey.conftest import ELECTRICITY, EMAIL, GOOD


def posted(party: Any) -> list[tuple[str, str]]:
    """Subject and text of what the worker sends now."""
    party.mail.sent.clear()
    with party.app.app_context():
        mails.send_due()
    assert all(to == EMAIL for to, _, _ in party.mail.sent)
    return [(subject, text) for _, subject, text in party.mail.sent]


def allowed(cap: Any) -> Any:
    return cap.begun().click("continue", email=EMAIL).click("continue", code="123456").click("allow", agree="yes")


def test_P12_a_grant_is_receipted_and_a_second_one_is_a_renewal_or_a_change(cap: Any) -> None:
    allowed(cap)
    ((subject, text),) = posted(cap)
    assert subject == "Receipt: your permission for Carbon Accounting R Us Limited"
    assert "may see your monthly emissions from electricity and gas." in text
    allowed(cap)
    assert [subject for subject, _ in posted(cap)] == [
        "Receipt: you renewed your permission for Carbon Accounting R Us Limited"
    ]
    cap.fuels = frozenset({"electricity"})
    allowed(cap)
    assert [subject for subject, _ in posted(cap)] == [
        "Receipt: you changed your permission for Carbon Accounting R Us Limited"
    ]


def test_a_bill_gives_no_address_and_nothing_is_owed(edp: Any) -> None:
    edp.begun().click("continue", **GOOD).click("allow", agree="yes")
    assert edp.grant()
    assert posted(edp) == []


#: What a name may hold: an end of a header, marks that turn the order of reading, what is not seen, and more than a line.
HOSTILE = "Acme\r\nBcc: x@evil.example\r\n\r\n\u202eelpmaxe\u2066\u200b\x00 \u2028Ltd" + "!" * 400


def test_E12_a_name_makes_no_header_and_no_line_of_a_mail(edp: Any) -> None:
    edp.keep_grant(1)
    seen = table_of(Evidence)
    with edp.app.app_context(), edp.app.test_request_context():
        with store.writing() as c:
            who, names = {"business": HOSTILE}, dict.fromkeys(("client", "license", "FSP"), HOSTILE)
            c.execute(seen.update().values(who=who, names=names, meters=[{**ELECTRICITY, "site": HOSTILE}]))
        for kind in mails.Kind:
            with store.reading() as c:
                about = receipt.find(c, "p-1", clock.now())
            assert about is not None
            subject, text = mails.text(kind, about)
            assert len(subject) < 140
            assert "Acme" in subject or kind is mails.Kind.READY
            written = subject + text.replace("\n", "")
            assert all(ch.isprintable() for ch in written), kind
            assert not any(line.startswith("Bcc") for line in text.splitlines()), kind
            assert max(map(len, text.splitlines())) < 500


def ended(party: Any, subject: str = "p-1") -> tuple[str | None, str | None]:
    """How a permission ended, and where."""
    with party.app.app_context(), store.reading() as c:
        row = permissions.find(c, subject)
    assert row is not None
    return row.ended_as, row.ended_where


def link(party: Any, subject: str = "p-1") -> str:
    with party.app.app_context():
        return links.make_path(subject)


@pytest.fixture
def kept(edp: Any) -> Any:
    edp.keep_grant(1)
    edp.keep_grant(2)
    return edp


def test_P12_the_link_in_a_mail_withdraws_in_one_visit(cap: Any) -> None:
    allowed(cap)
    ((_, text),) = posted(cap)
    (address,) = re.findall(rf"{cap.origin}(/receipt/[0-9a-f]{{64}})\n", text)
    browser = cap.browser().open(address)
    assert "Other permissions" not in browser.html, "nothing depends on a bank's"
    browser.click("confirm")
    assert (browser.path, browser.status) == (address, 200)
    assert "It ended on " in browser.html
    assert "confirm" not in browser.page.ids()
    assert ended(cap, cap.grant().permission.id) == ("withdrawn", "receipt")
    ((_, text),) = posted(cap)
    assert "/receipt/" not in text


def test_a_mail_scanner_that_follows_the_link_changes_nothing(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, address = kept.app.test_client(), link(kept)
    with monkeypatch.context() as patched:
        patched.delattr(store, "writing")
        for method in ("GET", "HEAD", "GET"):
            assert client.open(address, method=method, base_url="https://localhost").status_code == 200
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert client.open(link(kept), method=method, base_url="https://localhost").status_code == 405
    assert ended(kept) == (None, None)


def test_E01_withdrawing_takes_the_form_of_this_very_receipt(kept: Any) -> None:
    browser = kept.browser().open(link(kept))
    action, fields, _ = browser.form_of("confirm")
    others = kept.browser().open(link(kept, "p-2")).form_of("confirm")[1]
    for sent, headers in (
        ({}, {}),
        (others, {}),
        ({"csrf": "0" * 40}, {}),
        (fields, {"Sec-Fetch-Site": "cross-site"}),
        (fields, {"Origin": "https://evil.example"}),
    ):
        assert browser.post(action, sent, headers=headers).status == 403
    assert ended(kept) == (None, None)
    browser.post(action, fields)
    assert browser.post(action, fields).status == 200, "a second click"
    assert (ended(kept), ended(kept, "p-2")) == (("withdrawn", "receipt"), (None, None))


def test_E10_a_link_that_is_passed_on_shows_the_receipt_and_nothing_else(kept: Any) -> None:
    browser = kept.browser().open(link(kept))
    assert "Acme Widgets Ltd" in browser.html
    for secret in (
        "1212345678902",
        "192.0.2.7",
        "A browser",
        "evidence-1",
        "p-1",
        "Smith",
        kept.grants()[0].evidence.id,
    ):
        assert secret not in browser.html
    assert "Set-Cookie" not in browser.response.headers
    assert "noindex" in browser.response.headers["X-Robots-Tag"]
    for path in ("/manage/permissions", "/manage/receipt?permission=p-1"):
        assert browser.open(path).path == "/manage"


def test_no_log_line_has_the_link_even_when_no_page_can_be_made(
    kept: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    client, address = kept.app.test_client(), link(kept)
    monkeypatch.setitem(kept.app.config, "PROPAGATE_EXCEPTIONS", False)
    monkeypatch.setattr(pages, "render", fails)
    with pytest.raises(RuntimeError):  # gunicorn's to answer
        client.get(address, base_url="https://localhost")
    assert "RuntimeError" in caplog.text
    assert address.removeprefix(links.PATH) not in caplog.text


def test_the_store_has_the_links_digest_alone(kept: Any) -> None:
    handle = link(kept).removeprefix(links.PATH)
    with kept.app.app_context(), store.reading() as c:
        (row,) = every(c, ReceiptLink, table_of(ReceiptLink).select())
    assert row == (digest(handle), "p-1")
    assert handle != link(kept, "p-2").removeprefix(links.PATH)


def test_E11_guessing_is_limited_and_never_keeps_the_owner_out(kept: Any) -> None:
    browser, right = kept.browser(), link(kept)
    statuses = [browser.open(f"/receipt/{number:064x}").status for number in range(7)]
    assert statuses == [404] * 5 + [429] * 2
    assert "There is no receipt at this address" in browser.html
    assert browser.open(right).click("confirm").status == 200
    assert ended(kept) == ("withdrawn", "receipt")


@pytest.mark.parametrize("handle", ["x", "0" * 63, "0" * 65, "A" * 5000, "%00", "..%2fmanage", "é"])
def test_an_unknown_receipt_link_is_404(kept: Any, handle: str) -> None:
    assert kept.browser().open(f"/receipt/{handle}").status == 404


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ended_as": "withdrawn"}, "Withdrawn"),
        ({"ended_as": "superseded"}, "Replaced by a newer one"),
        ({"expires": 0}, "Expired"),
    ],
)
def test_a_link_lasts_as_long_as_its_permission(edp: Any, change: dict[str, Any], said: str) -> None:
    at = clock.now()
    dated = {"expires": at} if "expires" in change else {"ended": at - 60, **change}
    edp.keep_grant(1, **dated)
    browser = edp.browser().open(link(edp))
    assert "This permission has ended" in browser.html
    assert said in browser.html
    assert [form["action"] for form in browser.page.forms] == ["/language"]
    before = ended(edp)
    token = edp.browser().open(link(edp)).html
    assert "csrf" not in token
    assert ended(edp) == before


def test_H23_who_has_moved_out_withdraws_with_the_receipt_printed_after_allow(edp: Any) -> None:
    browser = edp.begun().click("continue", **GOOD)
    (receipt,) = {
        a["href"] for tag, a in browser.page.found if tag == "a" and a.get("href", "").startswith("/journey/receipt")
    }
    assert "There is no receipt yet" in browser.open(receipt).html
    browser.open(browser.page.found and receipt.replace("/receipt?", "/permission?")).click("allow", agree="yes")
    browser.open(receipt)
    assert "Not finished" in browser.html, "until the client has collected it"
    printed = browser.path
    assert printed.startswith(links.PATH)
    assert f"{edp.origin}{printed}" in browser.html
    edp.browser().open(printed).click("confirm")
    assert ended(edp, edp.grant().permission.id) == ("withdrawn", "receipt")


def test_the_way_to_the_receipt_from_the_pages_of_a_signed_in_business(kept: Any) -> None:
    browser = kept.browser().open("/manage").click("continue", **GOOD).open("/manage/receipt?permission=p-2")
    assert [a["href"] for tag, a in browser.page.found if a.get("id") == "receipt"] == [link(kept, "p-2")]
    assert '<span class="state granted">Live</span>' in browser.open(link(kept, "p-2")).html


def test_the_signed_receipt_is_had_by_the_link_and_from_the_evidence_and_opens_nothing(kept: Any) -> None:
    browser, seen = kept.app.test_client(), kept.grants()[1].evidence
    root = kept.deployment.signing_root
    for path in (f"{link(kept)}/consent.json", f"/evidence/{seen.id}/consent.json"):
        response = browser.get(path, base_url="https://localhost")
        assert (response.status_code, response.mimetype) == (200, "application/json")
        receipt = consent_receipt.verify(response.data, root, clock.now())
        assert receipt["dpv:hasRecordOfActivity"]["dpv:hasDataSubject"]["dpv:hasName"] == "Acme Widgets Ltd"
        for secret in (link(kept), "/receipt/", "1212345678902", seen.id, seen.address):
            assert secret not in json.dumps(receipt)
    for path in ("/receipt/unknown/consent.json", "/evidence/unknown/consent.json"):
        assert browser.get(path, base_url="https://localhost").status_code == 404


def test_H11_a_signed_receipt_is_signed_once_for_each_state_and_minute(
    kept: Any, monkeypatch: Any, held_clock: Any
) -> None:
    """An HSM makes one signature at a time, and whoever has the link may ask in a loop."""
    signed: list[bytes] = []
    sign = Signer.sign
    monkeypatch.setattr(Signer, "sign", lambda signer, data: signed.append(data) or sign(signer, data))
    browser, path, root = kept.app.test_client(), f"{link(kept)}/consent.json", kept.deployment.signing_root

    def status() -> list[str]:
        response = browser.get(path, base_url="https://localhost")
        receipt = consent_receipt.verify(response.data, root, clock.now())
        return [each["@type"][0] for each in receipt["dpv:hasRecordOfActivity"]["dpv:hasConsentStatus"]]

    assert [status() for _ in range(5)] == [["dpv:ConsentGiven"]] * 5
    assert len(signed) == 1
    kept.browser().open(link(kept)).click("confirm")
    assert [status() for _ in range(5)] == [["dpv:ConsentGiven", "dpv:ConsentWithdrawn"]] * 5
    assert len(signed) == 2
    held_clock.step(60)
    status()
    assert len(signed) == 3


def test_P13_what_a_withdrawal_leads_to_is_said_in_the_permissions_own_words(edp: Any) -> None:
    says = "From then on Carbon & Co stops & deletes <what> it has."
    edp.text = f"Carbon & Co may fetch your gas.\n\nYou may withdraw at any time. {says}\n"
    edp.keep_grant()
    with edp.app.app_context():
        link = links.make_path("p-1")
    managed = edp.browser().open("/manage").click("continue", **GOOD).open("/manage/withdraw?permission=p-1")
    for html in (managed.html, edp.browser().open(link).html):
        assert f'The permission says: “<bdi lang="en">{escape(says)}</bdi>”' in html
        assert "You may withdraw at any time" not in html
