"""Customer log-in at a provider that nobody here wrote (npm's oidc-provider), with its bad days and ours."""

import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from joserfc.jwk import ECKey

from consent_server import clock, store
from consent_server.jobs import retention
from consent_server.journey.log_in import (
    LogInNotOurs,
    LogInRefused,
    LogInStopped,
    LogInTooWeak,
    LogInUnreachable,
)
from consent_server.journey.steps.sites import NONE
from consent_server.metering.register import LOGGED_IN
from consent_server.receipts import mails
from consent_server.scheme.instant import DAY
from consent_server.serving import lines
from consent_server.settings.storage import RetentionSettings
from consent_server.store import receipt_addresses
from consent_server.store.tables.metering import Meter
from consent_server.web import background, csrf
from consent_server.withdrawal import withdraw
from tests.browser import Browser
from tests.journey.conftest import GOOD, World
from tests.journey.test_in_chromium import Served
from tests.metering import foreign
from tests.openid import SECRET, Customer, OpenIdProvider

ORIGIN = "https://edp.example"
NUMBERS = {"m-el": "1212345678902", "m-gas": "3938424403", "y-el": "2300000000001"}


@pytest.fixture(scope="session")
def provider(node_folder: Path) -> Iterator[OpenIdProvider]:
    running = OpenIdProvider(node_folder)
    yield running
    running.stop()


@pytest.fixture
def enter(build_party: Any, provider: OpenIdProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make an EDP whose customers log in: "C-1" has two sites, "C-2" has none of its own any more."""
    monkeypatch.setattr(clock, "now", lambda: int(time.time()))  # the provider has no other clock
    monkeypatch.setattr(background, "WAIT_S", 30)  # however busy this machine is
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text(SECRET)

    def make(origin: str = ORIGIN, **changes: Any) -> World:
        settings = {
            "journey.steps": ["login", "bill"],
            "metering.vouches_for_sites": False,
            "login.issuer": provider.issuer,
            "login.name": "Meter Data Corp Online",
            "login.client_id": "edp",
            "login.secret": str(secret),
            "login.strengths": {"password": "a password", "two-factors": "two factors"},
            **{name.replace("__", "."): value for name, value in changes.items()},
        }
        provider.clients(origin)
        provider.days(acr="password")
        world = build_party("edp", origin=origin, changes=settings)
        place = {"postcode": "SW8 1AA", "outcode": "SW8", "measures": ["import"]}
        for id_, fuel, site in (
            ("m-el", "electricity", "Shop"),
            ("m-gas", "gas", "Shop"),
            ("y-el", "electricity", "Yard"),
        ):
            world.keep(Meter(id_, "sme-1", "Acme Widgets Ltd", fuel, NUMBERS[id_], **place, site=site, customer="C-1"))
        world.keep(
            Meter("left", "sme-2", "Bakers Ltd", "gas", "2000000001", **place, customer="C-2", until=clock.now() - 1)
        )
        return world  # type: ignore[no-any-return]

    return make


@pytest.fixture
def edp(enter: Any) -> World:
    return enter()  # type: ignore[no-any-return]


@pytest.fixture
def customer(provider: OpenIdProvider) -> Iterator[Customer]:
    browser = Customer(provider)
    yield browser
    browser.client.close()


def sent_away(world: World) -> Browser:
    browser = world.begun()
    assert browser.path == "/journey/log-in"
    return browser.click("continue")


def path_of(address: str) -> str:
    assert address.startswith(ORIGIN), address
    return address.removeprefix(ORIGIN)


def logged_in(world: World, customer: Customer, name: str = "C-1") -> Browser:
    browser = sent_away(world)
    return browser.open(path_of(customer.log_in(browser.location, name)))


# the way there and back


@pytest.mark.parametrize(("button", "shown"), [("Log in", "Mewngofnodi"), ("Go to My Meters", "Go to My Meters")])
def test_O1_the_button_is_welsh_on_a_welsh_page_unless_the_edp_has_its_own_words(
    enter: Any, button: str, shown: str
) -> None:
    browser = enter(login__button=button).begun()
    browser.client.set_cookie("__Host-language", "cy", domain="localhost", secure=True)
    browser.open(browser.path + "?" + browser.response.request.query_string.decode())
    assert f'<button id="continue" type="submit">{shown}</button>' in browser.html


def test_O1_a_customer_logs_in_ticks_its_sites_and_the_evidence_says_how(edp: World, customer: Customer) -> None:
    browser = logged_in(edp, customer)
    assert browser.path == "/journey/sites"
    assert "checked" not in browser.html.partition("<form")[2]
    assert "Shop" in browser.html
    assert "Yard" in browser.html
    browser.click("continue", **{"site-2": "yes"}).click("allow", agree="yes")
    granted = edp.grant()
    assert [(meter["id"], meter["proof"]) for meter in granted.permission.meters] == [("y-el", LOGGED_IN)]
    who = granted.evidence.who
    assert (who["business"], who["method"]) == ("Acme Widgets Ltd", "log-in at Meter Data Corp Online")
    assert who["strength"] == "the customer's log-in; how it logged in is not known"
    assert granted.permission.sme == "sme-1"


def test_O1_a_customer_logs_in_where_the_register_is_a_database(enter: Any, customer: Customer, tmp_path: Path) -> None:
    queries = foreign.a_sqlite_file(tmp_path).sql_register.model_dump()
    section = {f"metering.sql_register.{name}": value for name, value in queries.items()}
    edp = enter(metering__register_source="sql", **section)
    browser = logged_in(edp, customer, foreign.CUSTOMER)
    browser.click("continue", all="yes").click("allow", agree="yes")
    granted = edp.grant().permission
    assert (granted.sme, sorted(meter["id"] for meter in granted.meters)) == (
        "customer-1",
        [foreign.FARM, foreign.SHOP, foreign.OVEN],
    )


def test_O1_nothing_ticked_shares_nothing(edp: World, customer: Customer) -> None:
    browser = logged_in(edp, customer).click("continue")
    assert (browser.status, browser.path) == (422, "/journey/sites")
    assert NONE in browser.html
    journey = browser.response.request.args["journey"]
    assert browser.open(f"/journey/permission?journey={journey}").path == "/journey/sites"


def test_O1_what_the_browser_takes_along(edp: World, provider: OpenIdProvider) -> None:
    asked = sent_away(edp).location
    query = {name: values[0] for name, values in parse_qs(urlsplit(asked).query).items()}
    assert asked.startswith(f"{provider.issuer}/auth?")
    assert query.keys() == {
        *("response_type", "client_id", "redirect_uri", "scope", "state", "nonce"),
        *("code_challenge", "code_challenge_method", "max_age"),
    }
    assert (query["response_type"], query["code_challenge_method"], query["scope"]) == ("code", "S256", "openid")
    assert query["redirect_uri"] == f"{ORIGIN}/journey/log-in/return"
    other = parse_qs(urlsplit(sent_away(edp).location).query)
    assert all(query[name] != other[name][0] for name in ("state", "nonce", "code_challenge"))


def test_O1_step_up_and_the_strength_that_the_settings_name(
    enter: Any, provider: OpenIdProvider, customer: Customer
) -> None:
    edp = enter(login__acr_values=["two-factors"])
    browser = logged_in(edp, customer)
    assert (browser.path, browser.status) == ("/journey/log-in", LogInTooWeak.status)
    assert LogInTooWeak.public in browser.html
    provider.days(acr="two-factors")
    customer.client.cookies.clear()
    browser.click("continue")
    browser.open(path_of(customer.log_in(browser.location, "C-1")))
    browser.click("continue", all="yes").click("allow", agree="yes")
    assert edp.grant().evidence.who["strength"] == "two factors"
    assert len(edp.grant().permission.meters) == 3


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256"])
def test_O1_signatures_that_count(edp: World, provider: OpenIdProvider, customer: Customer, algorithm: str) -> None:
    provider.clients(ORIGIN, id_token_signed_response_alg=algorithm)
    assert logged_in(edp, customer).path == "/journey/sites"


def test_O1_the_providers_keys_change(edp: World, provider: OpenIdProvider, customer: Customer) -> None:
    assert logged_in(edp, customer).path == "/journey/sites"
    provider.say(rotate=True)
    assert logged_in(edp, customer).path == "/journey/sites"


def test_O1_we_authenticate_with_a_key(
    enter: Any, provider: OpenIdProvider, customer: Customer, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    (tmp_path / "key.pem").touch(mode=0o600)
    (tmp_path / "key.pem").write_bytes(pem)
    edp = enter(login__secret="", login__key=str(tmp_path / "key.pem"))
    jwks = {"keys": [ECKey.import_key(pem).as_dict(private=False)]}
    provider.clients(ORIGIN, client_secret=None, token_endpoint_auth_method="private_key_jwt", jwks=jwks)
    assert logged_in(edp, customer).path == "/journey/sites"


def test_O1_another_claim_names_the_customer(enter: Any, provider: OpenIdProvider, customer: Customer) -> None:
    edp = enter(login__customer_claim="customer_number")
    provider.days(claims={"customer_number": "C-1"})
    assert logged_in(edp, customer, "somebody").path == "/journey/sites"
    provider.days(claims={"customer_number": 17})
    assert logged_in(edp, customer, "somebody").status == LogInRefused.status


# receipts by mail

VERIFIED = {"email": "Owner@Acme.example", "email_verified": True}


def mailed(world: World) -> list[tuple[str, str]]:
    """Address and subject of what the worker sends now."""
    with world.app.app_context():
        mails.send_due()
    sent, world.mail.sent = world.mail.sent, []
    return [(to, subject) for to, subject, _ in sent]


def test_a_receipt_goes_to_the_verified_address_and_the_evidence_is_without_it(
    edp: World, provider: OpenIdProvider, customer: Customer
) -> None:
    provider.days(claims=VERIFIED)
    logged_in(edp, customer).click("continue", all="yes").click("allow", agree="yes")
    granted = edp.grant()
    name = "Carbon Accounting R Us Limited"
    assert mailed(edp) == [("owner@acme.example", f"Receipt: your permission for {name}")]
    assert "owner@acme.example" not in repr(granted)
    with edp.app.app_context():
        withdraw.withdraw(granted.permission.id, withdraw.Withdrawal(by="sme", where="receipt", why="a test"))
    assert mailed(edp) == [("owner@acme.example", f"Receipt: your permission for {name} is withdrawn")]


#: (settings, claims, who is mailed)
ADDRESSES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "not verified": ({}, {**VERIFIED, "email_verified": False}, []),
    "verified, as a text": ({}, {**VERIFIED, "email_verified": "true"}, []),
    "verified, as a number": ({}, {**VERIFIED, "email_verified": 1}, []),
    "nobody says whether": ({}, {"email": "owner@acme.example"}, []),
    "no address": ({}, {"email": "x\r\nBcc: all@acme.example", "email_verified": True}, []),
    "a list": ({}, {**VERIFIED, "email": ["owner@acme.example"]}, []),
    "another claim": (
        {"login__mail_claim": "work"},
        {**VERIFIED, "work": "work@acme.example", "work_verified": True},
        ["work@acme.example"],
    ),
    "another claim that is not verified": ({"login__mail_claim": "work"}, {**VERIFIED, "work": "w@acme.example"}, []),
    "no claim": ({"login__mail_claim": ""}, {**VERIFIED, "": "owner@acme.example", "_verified": True}, []),
    "no relay": ({"mail__source": ""}, VERIFIED, []),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_only_a_verified_address_is_mailed_to(
    enter: Any, provider: OpenIdProvider, customer: Customer, name: str
) -> None:
    settings, claims, to = ADDRESSES[name]
    edp = enter(**settings)
    provider.days(claims=claims)
    logged_in(edp, customer).click("continue", all="yes").click("allow", agree="yes")
    assert edp.grant()
    assert [each for each, _ in mailed(edp)] == to


def test_who_uses_a_bill_after_a_log_in_gets_no_mail(edp: World, provider: OpenIdProvider, customer: Customer) -> None:
    provider.days(claims=VERIFIED)
    browser = logged_in(edp, customer)
    browser.open(f"/journey/identify?journey={browser.response.request.args['journey']}")
    browser.click("continue", **GOOD).click("allow", agree="yes")
    assert edp.grant()
    assert mailed(edp) == []


def test_an_address_is_deleted_when_no_mail_can_be_owed(
    edp: World, provider: OpenIdProvider, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.days(claims=VERIFIED)
    logged_in(edp, customer).click("continue", all="yes").click("allow", agree="yes")
    permission, kept = edp.grant().permission, RetentionSettings()

    def address_at(instant: int) -> str | None:
        monkeypatch.setattr(clock, "now", lambda: instant)
        with edp.app.app_context():
            retention.apply(kept)
            with store.reading() as c:
                return receipt_addresses.find(c, permission.id)

    over = permission.expires + kept.addresses_days * DAY
    assert address_at(over + 1) == "owner@acme.example", "its receipt was not sent yet"
    mailed(edp)
    assert [address_at(over), address_at(over + 1)] == ["owner@acme.example", None]


# the bad days

BAD_DAYS: dict[str, tuple[dict[str, Any], type[Any]]] = {
    "another nonce": ({"ask": {"nonce": "another"}}, LogInRefused),
    "no nonce": ({"claims": {"nonce": None}}, LogInRefused),
    "another issuer's token": ({"claims": {"iss": "https://other.example"}}, LogInRefused),
    "another issuer's answer": ({"back": {"iss": "https://other.example"}}, LogInNotOurs),
    "an answer that names no issuer": ({"back": {"iss": None}}, LogInNotOurs),
    "no code": ({"back": {"code": None}}, LogInNotOurs),
    "another client's token": ({"claims": {"aud": "other"}}, LogInRefused),
    "a token for others as well": ({"claims": {"aud": ["edp", "other"], "azp": "edp"}}, LogInRefused),
    "a token that has expired": ({"claims": {"exp": 1700000000}}, LogInRefused),
    "a token of tomorrow": ({"claims": {"iat": 4000000000}}, LogInRefused),
    "logged in long ago": ({"claims": {"auth_time": 1700000000}}, LogInRefused),
    "logged in nobody knows when": ({"claims": {"auth_time": None}}, LogInRefused),
    "nobody's token": ({"claims": {"sub": None}}, LogInRefused),
    "no signature": ({"algorithm": "none"}, LogInRefused),
    "signed with our secret": ({"algorithm": "HS256"}, LogInRefused),
    "signed with an unknown key": ({"kid": "unknown"}, LogInRefused),
    "a code that is not the provider's": ({"back": {"code": "made-up"}}, LogInStopped),
}


@pytest.mark.parametrize("name", BAD_DAYS)
def test_O1_what_the_provider_says_wrongly(edp: World, provider: OpenIdProvider, customer: Customer, name: str) -> None:
    days, refusal = BAD_DAYS[name]
    provider.days(**days)
    browser = logged_in(edp, customer)
    assert (browser.path, browser.status) == ("/journey/log-in", refusal.status)
    assert refusal.public in browser.html
    assert "code=" not in browser.response.request.url
    journey = browser.response.request.args["journey"]
    assert browser.open(f"/journey/sites?journey={journey}").path == "/journey/log-in"
    provider.days()
    browser.open(f"/journey/log-in?journey={journey}").click("continue")
    assert browser.open(path_of(customer.log_in(browser.location, "C-1"))).path == "/journey/sites"


def test_O1_the_customer_stops(edp: World, customer: Customer) -> None:
    browser = sent_away(edp)
    browser.open(path_of(customer.log_in(browser.location, "C-1", stop=True)))
    assert (browser.path, browser.status) == ("/journey/log-in", LogInStopped.status)
    journey = browser.response.request.args["journey"]
    assert f"/journey/identify?journey={journey}" in browser.html


def test_O1_a_code_that_has_expired(edp: World, provider: OpenIdProvider, customer: Customer) -> None:
    provider.days(code=1)
    browser = sent_away(edp)
    back = path_of(customer.log_in(browser.location, "C-1"))
    time.sleep(2.1)
    assert browser.open(back).status == LogInStopped.status


@pytest.mark.parametrize("name", ["C-2", "nobody", "%", "c-1"])
def test_O1_a_customer_without_meters_is_told_so_and_may_use_a_bill(edp: World, customer: Customer, name: str) -> None:
    browser = logged_in(edp, customer, name)
    assert (browser.path, browser.status) == ("/journey/log-in", 200)
    assert "no-meters" in browser.page.ids()
    browser.open(f"/journey/identify?journey={browser.response.request.args['journey']}")
    assert browser.click("continue", **GOOD).path == "/journey/permission"
    browser.click("allow", agree="yes")
    assert edp.grant().evidence.who["method"] == "postcode and meter number"


def test_O1_a_provider_that_cannot_be_reached(enter: Any) -> None:
    edp = enter(login__issuer="https://localhost:9")
    browser = edp.begun()
    assert (browser.path, browser.status) == ("/journey/log-in", LogInUnreachable.status)
    assert LogInUnreachable.public in browser.html
    assert "/journey/identify?journey=" in browser.html


def test_O1_H08_a_slow_provider_is_waited_for_by_a_page_that_says_so(
    edp: World, provider: OpenIdProvider, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = sent_away(edp)
    back = path_of(customer.log_in(browser.location, "C-1"))
    provider.days(slow=1.5)
    with monkeypatch.context() as impatient:
        impatient.setattr(background, "WAIT_S", 0.05)
        browser.open(back)
    path, before = browser.response.request.full_path, browser.secret()
    assert (browser.path, browser.status) == ("/journey/log-in", 200)
    assert "We are waiting for" in browser.html
    assert "Meter Data Corp Online" in browser.html
    assert browser.response.headers["Refresh"].endswith(f";url={path}")
    assert "We are waiting for" in browser.open(back).html, "a reload redeems nothing"
    for thread in threading.enumerate():
        if thread.name == "background task":
            thread.join(60)
    assert browser.open(path).path == "/journey/sites"
    assert browser.secret() != before


def test_O1_H08_a_return_while_too_many_wait_is_taken_when_the_page_is_loaded_again(
    edp: World, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = sent_away(edp)
    back = path_of(customer.log_in(browser.location, "C-1"))
    with monkeypatch.context() as crowded:
        crowded.setattr(background, "MOST", 0)
        browser.open(back)
    assert (browser.status, background.ProviderBusy.public in browser.html) == (503, True)
    assert "/connect" not in browser.html, "an energy data provider has no such page"
    assert browser.open(back).path == "/journey/sites"


def test_O1_H08_documents_that_are_slow_to_come_are_waited_for(
    edp: World, provider: OpenIdProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "WAIT_S", 0.05)
    provider.days(discovery=0.5)
    for browser in (edp.begun(), edp.browser().open("/manage/log-in")):
        path = browser.response.request.full_path.rstrip("?")
        while "We are waiting for" in browser.html:
            assert browser.response.headers["Refresh"].endswith(f";url={path}")
            time.sleep(0.1)
            browser.open(path)
        assert "continue" in browser.page.ids()


# who may come back


def test_O1_E10_a_return_in_another_browser(edp: World, customer: Customer) -> None:
    browser = sent_away(edp)
    back = path_of(customer.log_in(browser.location, "C-1"))
    other = edp.browser().open(back)
    assert (other.status, "journey_not_in_this_browser" in other.html) == (403, True)
    assert edp.begun().open(back).status == 403
    assert browser.open(back).path == "/journey/sites", "and it has spoiled nothing"


def test_O1_E01_a_return_that_this_journey_did_not_ask_for(edp: World, customer: Customer) -> None:
    """Log-in CSRF: an attacker's own log-in is put into the victim's journey."""
    attacker, victim = sent_away(edp), sent_away(edp)
    back = path_of(customer.log_in(attacker.location, "C-1"))
    mine = parse_qs(urlsplit(victim.location).query)["state"][0]
    theirs = parse_qs(urlsplit(back).query)["state"][0]
    for state in (
        mine[:-1] + "x",
        f"{mine.partition('.')[0]}.",
        f"{mine.partition('.')[0]}.{theirs.partition('.')[2]}",
    ):
        assert victim.open(back.replace(theirs, state)).status == LogInNotOurs.status
    # With the victim's own state the attacker's code fails at the provider: it was issued for another challenge.
    assert victim.open(back.replace(theirs, mine)).status == LogInStopped.status
    assert victim.path == "/journey/log-in"


def test_O1_E06_two_journeys_in_one_browser(edp: World, customer: Customer) -> None:
    first, second = sent_away(edp), edp.journey()
    first.client.set_cookie(second.cookie, second.value, domain="localhost", secure=True)
    back = path_of(customer.log_in(first.location, "C-1"))
    first.open(second.path).click("continue")
    assert first.open(back).path == "/journey/sites"
    assert first.open(second.path).path == "/journey/log-in"


def test_O1_E03_the_secret_is_new_after_the_log_in_and_the_old_one_opens_nothing(
    edp: World, customer: Customer
) -> None:
    browser = sent_away(edp)
    planted = browser.secret()
    back = path_of(customer.log_in(browser.location, "C-1"))
    browser.open(back)
    assert browser.secret() != planted
    journey = browser.response.request.args["journey"]
    with_old = edp.browser()
    with_old.client.set_cookie(browser.cookie, planted, domain="localhost", secure=True)
    for path in ("sites", "permission", "log-in"):
        assert with_old.open(f"/journey/{path}?journey={journey}").status == 403
    state = parse_qs(urlsplit(back).query)["state"][0]
    assert with_old.open(f"/journey/log-in/return?state={state}&code=guessed&iss=x").status == 403
    # Only who has the code itself, which came to the right browser, is the second half of its double load.
    with_old.client.set_cookie(browser.cookie, planted, domain="localhost", secure=True)
    assert with_old.open(back).path == "/journey/sites"


def test_O1_E03_a_log_in_that_was_waited_for_gives_the_old_secret_nothing(
    edp: World, provider: OpenIdProvider, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "WAIT_S", 0.0)
    browser = edp.begun()
    for _ in range(600):  # the provider's documents arrive
        if "continue" in browser.page.ids():
            break
        time.sleep(0.1)
        browser.open(browser.response.request.full_path)
    planted = browser.secret()
    browser.click("continue")
    browser.open(path_of(customer.log_in(browser.location, "C-1")))
    path = browser.response.request.full_path
    for _ in range(600):
        if browser.path == "/journey/sites":
            break
        time.sleep(0.1)
        browser.open(path)
    assert browser.path == "/journey/sites"
    with_old = edp.browser()
    with_old.client.set_cookie(browser.cookie, planted, domain="localhost", secure=True)
    assert with_old.post(path, {"csrf": csrf.token(planted)}).status == 403


def test_O1_a_return_is_used_once(edp: World, customer: Customer) -> None:
    browser = sent_away(edp)
    back = path_of(customer.log_in(browser.location, "C-1"))
    browser.open(back)
    assert browser.open(back).status == LogInNotOurs.status
    assert len(edp.audited("permission_granted")) == 0


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 403),
        ("?code=x", 403),
        ("?state=//evil.example&code=x", 403),
        ("?state=x&state=y&code=x", 400),
        ("?state=%00", 400),
        (f"?state={'x' * 9000}", 400),
    ],
)
def test_O1_a_return_of_nobody(edp: World, query: str, status: int) -> None:
    browser = edp.begun().open(f"/journey/log-in/return{query}")
    assert browser.status == status
    assert edp.browser().open("/journey/identify/return").status == 404
    assert edp.begun().client.head("/journey/log-in/return", base_url="https://localhost").status_code == 405


def test_O1_no_code_token_secret_or_customer_in_any_log(
    edp: World, customer: Customer, caplog: pytest.LogCaptureFixture
) -> None:
    written = io.StringIO()
    handler = lines.handler("public", written)
    handler.setLevel(logging.DEBUG)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for name in ("authlib", "joserfc", "consent_server"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        browser = sent_away(edp)
        back = path_of(customer.log_in(browser.location, "C-1"))
        browser.open(back)
        browser = sent_away(edp)
        browser.open(path_of(customer.log_in(browser.location, "nobody-at-all")))
        bad = sent_away(edp)
        bad.open(path_of(customer.log_in(bad.location, "C-1")).replace("code=", "code=z"))
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        for name in ("authlib", "joserfc", "consent_server"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    said = written.getvalue()
    assert "log_in_stopped" in said
    assert any(json.loads(line).get("event") == "sme_identified" for line in said.splitlines())
    query = parse_qs(urlsplit(back).query)
    for secret in (query["code"][0], query["state"][0], "C-1", "nobody-at-all", "eyJ", SECRET, "code_verifier"):
        assert secret not in said


# which ways there are


def test_O1_the_first_way_is_shown_and_leads_to_the_other(enter: Any) -> None:
    edp = enter(journey__steps=["bill", "login"])
    browser = edp.begun()
    assert browser.path == "/journey/identify"
    journey = browser.response.request.args["journey"]
    assert f'href="/journey/log-in?journey={journey}"' in browser.html
    assert browser.open(f"/journey/log-in?journey={journey}").path == "/journey/log-in"
    assert "Step 1 of" in browser.html
    assert browser.click("cancel").landed["error"] == "access_denied"


def test_O1_a_log_in_alone_leads_to_no_bill(enter: Any) -> None:
    edp = enter(journey__steps=["login"])
    browser = edp.begun()
    assert "identify" not in browser.html
    assert browser.open(f"/journey/identify?journey={browser.response.request.args['journey']}").status == 404
    assert edp.browser().open("/manage/bill").status == 404
    assert edp.browser().open("/manage").path == "/manage"


def test_O1_who_logs_in_after_a_bill_has_the_bills_meters_no_more(edp: World, customer: Customer) -> None:
    browser = edp.begun()
    journey = browser.response.request.args["journey"]
    assert browser.open(f"/journey/identify?journey={journey}").click("continue", **GOOD).path == "/journey/permission"
    browser.open(f"/journey/log-in?journey={journey}").click("continue")
    browser.open(path_of(customer.log_in(browser.location, "C-1")))
    browser.click("continue", **{"site-2": "yes"}).click("allow", agree="yes")
    assert [meter["id"] for meter in edp.grant().permission.meters] == ["y-el"]


# where permissions are looked after


def managing(world: World, customer: Customer, name: str = "C-1") -> Browser:
    browser = world.browser().open("/manage")
    browser.click("continue")
    return browser.open(path_of(customer.log_in(browser.location, name)))


def test_O1_permissions_are_looked_after_with_the_same_log_in(
    edp: World, customer: Customer, provider: OpenIdProvider
) -> None:
    edp.keep_grant()
    browser = managing(edp, customer)
    assert browser.path == "/manage/permissions"
    browser.click("withdraw").click("confirm")
    assert edp.withdrawn() == ["p-1"]
    assert f"form-action 'self' {provider.issuer};" in browser.response.headers["Content-Security-Policy"]
    browser.click("leave")
    assert browser.location.startswith(f"{provider.issuer}/session/end?")
    assert browser.landed == {"client_id": "edp", "post_logout_redirect_uri": f"{ORIGIN}/manage"}
    assert browser.open("/manage/permissions").path == "/manage", "ours has ended, whatever the provider does"


def test_O1_E03_a_session_is_new_after_the_log_in(edp: World, customer: Customer) -> None:
    browser = edp.browser().open("/manage").click("continue")
    back = path_of(customer.log_in(browser.location, "C-1"))
    other = edp.browser().open("/manage")
    assert other.open(back).status == LogInNotOurs.status, "a return in another browser"
    other.open("/manage").click("continue")
    assert other.open(back).status == LogInNotOurs.status, "nor in one that logs in itself"
    assert browser.open(back.replace("code=", "code=z")).status == LogInStopped.status
    assert (browser.open(back).path, browser.status) == ("/manage/log-in", LogInStopped.status), "once"
    assert managing(edp, customer).path == "/manage/permissions"
    assert edp.browser().open("/manage/log-in/return").status == LogInNotOurs.status


def test_H15_log_ins_that_are_begun_and_not_finished_have_a_budget(enter: Any, customer: Customer) -> None:
    """Each is kept in the store, and asks the provider for tokens when a browser comes back with whatever code."""
    world = enter(limits__own_tries_per_day=1, limits__tries_per_network=1)
    for _ in range(3):
        assert managing(world, customer).path == "/manage/permissions", "one that is finished counts no more"

    begun = [world.browser().open("/manage").click("continue").status for _ in range(6)]
    assert begun[0] == 303
    assert begun.count(429) >= 3, "one more in each minute, of which another may have begun"
    assert 429 in {sent_away(world).status for _ in range(2)}, "in a journey as well"


def test_O1_at_the_permissions_a_customer_without_meters(edp: World, customer: Customer) -> None:
    browser = managing(edp, customer, "C-2")
    assert (browser.path, "no-meters" in browser.page.ids()) == ("/manage/log-in", True)
    assert browser.open("/manage/bill").click("continue", **GOOD).path == "/manage/permissions"
    assert browser.click("leave").path == "/manage"


# in Chromium, over TLS


@pytest.mark.browser
def test_O1_in_chromium_from_the_button_to_the_end_and_out_again(
    enter: Any, provider: OpenIdProvider, tab: Any
) -> None:
    """Chromium holds form-action against the whole redirect chain: over the provider and back, and to its log-out."""
    client_app = Flask("client")
    client_app.add_url_rule("/callback", view_func=lambda: "<title>back</title><h1>back</h1>")
    served, client = Served(Flask("placeholder")), Served(client_app)
    edp = enter(origin=served.origin, journey__steps=["bill", "login"])
    served.server.app = edp.app
    asked: list[tuple[str, str]] = []
    tab.on("request", lambda sent: asked.append((sent.url, sent.headers.get("referer", ""))))
    tab.goto(f"{edp.origin}{edp.pushed(redirect_uri=f'{client.origin}/callback?a=1')}")
    tab.click("text=Log in instead")
    tab.click("#continue")
    tab.fill("#customer", "C-1")
    tab.click("#go")
    tab.wait_for_selector("#sites")
    assert not tab.is_checked("#site-1")
    tab.check("#site-1")
    tab.click("#continue")
    tab.check("#agree")
    tab.click("#allow")
    tab.wait_for_url(f"{client.origin}/callback**")
    assert edp.grant().evidence.who["method"] == "log-in at Meter Data Corp Online"
    assert not [referrer for _, referrer in asked if "code=" in referrer or "state=" in referrer]
    # The provider knows the customer already: from the button straight back, all in one chain of redirects.
    tab.goto(f"{edp.origin}/manage/log-in")
    tab.click("#continue")
    tab.wait_for_url(f"{edp.origin}/manage/permissions")
    assert "code=" not in tab.url
    tab.click("#leave")
    tab.click("#out")
    tab.wait_for_url(f"{edp.origin}/manage**")
    tab.goto(f"{edp.origin}/manage/permissions")
    tab.wait_for_url(f"{edp.origin}/manage")
    for each in (served, client):
        each.server.shutdown()
