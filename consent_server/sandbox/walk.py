"""The whole path, walked once as an SME would, each step with what it proved.

Everything goes through the real pages and the real doors. The SME's part is done by `sandbox.browser`, the members' part
over mutual TLS with their own certificates. An assertion that fails ends the walk.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from consent_server.pki.member_certificate import load_certificates
from consent_server.sandbox import databases
from consent_server.sandbox.browser import Browser, NotOnPage, Page, follow
from consent_server.sandbox.client import Client, Request, claims
from consent_server.sandbox.layout import Layout
from consent_server.scheme import instant
from consent_server.scheme.provenance.container import verify
from consent_server.store.rows import table_of
from consent_server.store.tables.collecting import CollectedMeter, CollectedWindow, MeterMonth, ProviderConnection
from consent_server.tokens.data_sources import DataSources

FIRST = "normal"
WALKER = "export"
WITHIN_S = 30

Say = Callable[[str], None]


def manifest_of(layout: Layout) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(layout.manifest.read_text(encoding="utf-8"))
    return found


def connect_first(layout: Layout) -> None:
    """Connect the SME that is connected once the sandbox is ready, and wait until its readings are there."""
    manifest = manifest_of(layout)
    browser = Browser(Path(manifest["trust"]["server_ca"]))
    try:
        _connect(browser, manifest, FIRST)
    finally:
        browser.close()
    _eventually("the first SME's readings", lambda: _collected(layout, FIRST))


def _sme(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    return next(sme for sme in manifest["smes"] if sme["name"] == name)


def _connect(browser: Browser, manifest: dict[str, Any], name: str) -> None:
    steps = _sme(manifest, name)["connect"]["cap"]
    page = follow(browser, browser.open(manifest["pages"]["cap"] + steps[0]["path"]), steps)
    assert page.path == "/connected", f"connecting ended on {page.url}: “{page.heading}”"


def _connection_rows(layout: Layout, name: str) -> list[Any]:
    connection = table_of(ProviderConnection)
    with databases.connected(layout, "cap") as c:
        return list(c.execute(sa.select(connection).where(connection.c.account == f"account-{name}")))


def _collected(layout: Layout, name: str) -> bool:
    """Return whether an SME's readings are there, and its electricity is worked out."""
    ids = [row.id for row in _connection_rows(layout, name) if row.collected is not None]
    month = table_of(MeterMonth)
    waiting = sa.select(month.c.start).where(month.c.connection.in_(ids), month.c.weigh_due.is_not(None))
    with databases.connected(layout, "cap") as c:
        return bool(ids) and c.execute(waiting.limit(1)).first() is None


def _held_by_cap(layout: Layout, name: str) -> int:
    """Return how many rows of readings, records and months the CAP holds for an SME."""
    ids = [row.id for row in _connection_rows(layout, name)]
    count = 0
    with databases.connected(layout, "cap") as c:
        for rows in map(table_of, (CollectedMeter, CollectedWindow, MeterMonth)):
            found = c.execute(sa.select(sa.func.count()).select_from(rows).where(rows.c.connection.in_(ids)))
            count += int(found.scalar_one())
    return count


def _eventually(what: str, true: Callable[[], bool]) -> float:
    """Wait until it is true; return after how many seconds."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < WITHIN_S, f"{what}: not within {WITHIN_S} seconds"
        time.sleep(0.1)
    return time.monotonic() - started


def walk(layout: Layout, say: Say) -> None:
    """Walk the path. Raise AssertionError at the first step that fails."""
    manifest = manifest_of(layout)
    browser = Browser(Path(manifest["trust"]["server_ca"]))
    try:
        _Walk(layout, manifest, browser, say).all()
    finally:
        browser.close()


@dataclass
class _Walk:
    layout: Layout
    manifest: dict[str, Any]
    browser: Browser
    say: Say
    number: int = 0

    def all(self) -> None:
        cap = self.client("cap")
        request = self.discover_and_push(cap)
        callback = self.decide(request)
        tokens = self.redeem(cap, request, callback)
        self.read_data(cap, tokens)
        self.older_text_releases_no_gas()
        self.decline(cap)
        self.connect_at_the_cap()
        emissions_page = self.give_to_the_bank()
        self.withdraw_at_the_edp(emissions_page)
        self.withdraw_the_first_grant(cap, tokens)
        self.say("\nThe whole path holds.")

    # saying

    def step(self, title: str) -> None:
        self.number += 1
        self.say(f"\n{self.number}. {title}")

    def proved(self, what: str) -> None:
        self.say(f"   - {what}")

    def client(self, name: str) -> Client:
        return Client(self.manifest["clients"][name], self.manifest["trust"]["server_ca"])

    # the steps

    def discover_and_push(self, cap: Client) -> Request:
        self.step("A carbon accounting provider finds the issuer and pushes its request")
        catalogue = cap.http.get(
            f"{self.manifest['trust']['directory']}/query/data-services",
            params={"conformsTo": self.layout.consumption_standard},
        ).json()["apis"]
        issuer = next(
            each["oauthIssuer"] for each in catalogue if each["oauthIssuer"] == self.manifest["issuers"]["edp"]
        )
        self.proved(f"the Directory's catalogue names the issuer {issuer}")
        metadata = cap.discover(issuer)
        self.proved(
            f"its metadata confirms the issuer and requires PAR: {metadata['require_pushed_authorization_requests']}"
        )
        request = cap.push(self.manifest["licenses"]["electricity_and_gas"], self.callback_uri("cap"))
        self.proved(f"201 over mutual TLS 1.3 for client_id = the certificate's one URI, {cap.client_id}")
        return request

    def callback_uri(self, client: str) -> str:
        # Another origin than the issuer's; nothing listens there, for the browser stops at it.
        return f"https://client.example/{client}/callback"

    def journey(self, url: str, name: str, party: str) -> Page:
        return follow(self.browser, self.browser.open(url), _sme(self.manifest, name)["journey"][party])

    def decide(self, request: Request) -> str:
        self.step("The SME identifies its meters, reads the permission text and agrees")
        steps = _sme(self.manifest, WALKER)["journey"]["edp"]
        page = self.browser.open(request.url)
        page = follow(self.browser, page, steps[:1])
        text = page.texts.get("permission-text", "")
        assert "gas" in text and "electricity" in text, "the text does not name both fuels"
        self.proved("postcode and meter numbers match the register")
        self.proved(f"the page “{page.heading}” shows the Registry's text, which names electricity and gas")
        page = self.browser.click(page, steps[1]["click"], check=steps[1]["check"])
        assert page.url.startswith(request.redirect_uri), f"not back at the client but at {page.url}: {page.heading}"
        self.proved("agreed: the browser is back at the client's origin, with code, state and iss")
        return page.url

    def redeem(self, cap: Client, request: Request, callback: str) -> dict[str, Any]:
        self.step("Code, then tokens")
        code = cap.code(request, callback)
        answer = cap.redeem(request, code)
        assert answer.status_code == 200, f"token endpoint: {answer.status_code} {answer.text}"
        tokens: dict[str, Any] = answer.json()
        says = claims(tokens["access_token"])
        self.proved(
            f"an access token for {says['exp'] - says['iat']} s, aud {says['aud']}, fuels {', '.join(says['fuels'])}"
        )
        record = cap.permission(tokens["refresh_token"]).json()["permission"]
        self.proved(f"the permission record says: granted {record['lastGranted']}, expires {record['expires']}")
        evidence = self.browser.open(record["evidence"])
        assert evidence.status == 200, "the evidence page does not open"
        self.proved(
            f"the evidence page “{evidence.heading}” shows what the SME saw and did, without a full meter number"
        )
        return tokens

    def window(self) -> tuple[str, str]:
        end = instant.parse(self.manifest["readings"]["to"])
        return instant.text(end - 30 * instant.DAY), instant.text(end)

    def read_data(self, cap: Client, tokens: dict[str, Any]) -> None:
        self.step("The provider checks the token and releases half-hourly data with signed provenance")
        resource, token = self.manifest["resources"]["edp"], tokens["access_token"]
        sources = cap.get(f"{resource}/datasources", token).json()["data"]
        start, end = self.window()
        root = load_certificates(Path(self.manifest["trust"]["signing_ca"]).read_bytes())[0]
        for source in sources:
            answer = cap.readings(resource, token, source["id"], "import", start, end)
            assert answer.status_code == 200, f"{source['type']}: {answer.status_code} {answer.text[:200]}"
            body = answer.json()
            unit = body["data"][0]["energy"]["unitCode"]
            assert unit == {"electricity": "WHR", "gas": "MTQ"}[source["type"]], f"{source['type']} in {unit}"
            steps = verify(body["provenance"], self.layout.trust_framework, root)
            signer = steps[-1]["_signature"]["signed"]["member"]
            self.proved(f"{source['type']}: {len(body['data'])} half-hours in {unit}, provenance signed by {signer}")
        assert {source["type"] for source in sources} == {"electricity", "gas"}, "not both fuels"
        refused = self.client("cap2").get(f"{resource}/datasources", token)
        assert refused.status_code == 401, f"another member's certificate got {refused.status_code}"
        self.proved("the same token with another member's certificate: 401")

    def older_text_releases_no_gas(self) -> None:
        self.step("A permission under the older, electricity-only text never releases gas")
        other = self.client("cap2")
        other.discover(self.manifest["issuers"]["edp"])
        request = other.push(self.manifest["licenses"]["electricity"], self.callback_uri("cap2"))
        page = self.journey(request.url, WALKER, "edp")
        tokens = other.redeem(request, other.code(request, page.url)).json()
        resource, token = self.manifest["resources"]["edp"], tokens["access_token"]
        types = [source["type"] for source in other.get(f"{resource}/datasources", token).json()["data"]]
        assert types == ["electricity"], f"listed: {types}"
        self.proved("its token lists only electricity")
        start, end = self.window()
        every = DataSources.from_claim(claims(token)["datasources"])
        answers = [other.readings(resource, token, source, "import", start, end) for source in every]
        assert sorted(answer.status_code for answer in answers) == [200, 403], [answer.text[:200] for answer in answers]
        refused = next(answer.json() for answer in answers if answer.status_code == 403)
        self.proved(
            f"asked for the business's gas meter by its id: 403 {refused['error']}, “{refused['error_description']}”"
        )
        assert other.revoke(tokens["refresh_token"]).status_code == 200

    def decline(self, cap: Client) -> None:
        self.step("The SME may also say no")
        request = cap.push(self.manifest["licenses"]["electricity_and_gas"], self.callback_uri("cap"))
        steps = _sme(self.manifest, WALKER)["journey"]["edp"]
        page = follow(self.browser, self.browser.open(request.url), steps[:1])
        page = self.browser.click(page, "decline")
        assert "error=access_denied" in urlsplit(page.url).query, f"declined, but {page.url}"
        self.proved("declined: the client gets access_denied, and nothing was granted")

    def connect_at_the_cap(self) -> None:
        self.step("The SME connects its provider in the CAP's portal, which collects data and calculates emissions")
        _connect(self.browser, self.manifest, WALKER)
        self.proved("signed in with an e-mail code, read the text, agreed at the CAP and again at the provider")
        seconds = _eventually("the readings", lambda: _collected(self.layout, WALKER))
        self.proved(f"readings of both fuels fetched, their provenance verified, months calculated in {seconds:.1f} s")
        page = self.browser.open(f"{self.manifest['pages']['cap']}/result")
        assert page.status == 200 and page.path == "/result", f"the result page: {page.status} {page.url}"
        self.proved(f"the portal shows “{page.heading}”")

    def give_to_the_bank(self) -> str:
        self.step("The bank gets its own permission, and reads monthly emissions from the CAP")
        page = self.browser.open(f"{self.manifest['pages']['cap']}/account")
        page = self.browser.click(page, "share")
        page = follow(self.browser, page, _sme(self.manifest, WALKER)["journey"]["cap"][-1:])
        assert page.path.startswith("/emissions/"), f"the bank's page is {page.url}: “{page.heading}”"
        self.proved("one click in the account led to the bank and back; read the text that names the bank, agreed")
        assert page.status == 200 and "months" in page.texts, f"the bank shows “{page.heading}” ({page.status})"
        self.proved(f"the bank shows “{page.heading}”, its provenance verified back to the provider's signature")
        return page.url

    def withdraw_at_the_edp(self, emissions_page: str) -> None:
        self.step("The SME withdraws at the provider, and everything that depended on the permission ends")
        assert _held_by_cap(self.layout, WALKER) > 0, "the CAP holds nothing before the withdrawal"
        self.withdraw("edp")
        self.proved("withdrawn on the provider's own page, after identifying again")
        seconds = _eventually("deletion at the CAP", lambda: _held_by_cap(self.layout, WALKER) == 0)
        ended = [row for row in _connection_rows(self.layout, WALKER) if row.ended is not None]
        assert ended, "the CAP's connection still holds"
        self.proved(f"{seconds:.1f} s later the CAP has the message, and has deleted readings, records and months")
        seconds = _eventually("the bank's page", lambda: "withdrawn" in self.browser.open(emissions_page).html)
        self.proved(f"the bank's permission has ended with it, and the bank has the message ({seconds:.1f} s later)")

    def withdraw_the_first_grant(self, cap: Client, tokens: dict[str, Any]) -> None:
        self.step("The first grant is withdrawn too: its token is refused at once")
        resource = self.manifest["resources"]["edp"]
        fresh = cap.refresh(tokens["refresh_token"]).json()["access_token"]
        assert cap.get(f"{resource}/datasources", fresh).status_code == 200
        self.withdraw("edp")
        seconds = _eventually("the refusal", lambda: cap.get(f"{resource}/datasources", fresh).status_code == 401)
        self.proved(f"{seconds:.2f} s after the withdrawal the data API refuses a token that was valid before: 401")
        refused = cap.refresh(tokens["refresh_token"])
        assert refused.status_code == 400 and refused.json()["error"] == "invalid_grant", refused.text
        self.proved("the refresh token is refused: invalid_grant")
        record = cap.permission(tokens["refresh_token"]).json()["permission"]
        assert "revoked" in record, "the record does not say revoked"
        self.proved(f"the permission record says: revoked {record['revoked']}")

    def withdraw(self, party: str) -> None:
        steps = _sme(self.manifest, WALKER)["withdraw"][party]
        page = self.browser.open(self.manifest["pages"][party] + steps[0]["path"])
        page = follow(self.browser, page, steps)
        if page.status >= 400:
            raise NotOnPage(f"withdrawing ended with {page.status}: “{page.heading}”")
