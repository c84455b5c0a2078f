"""One party's pages on a real store, with the rest of the party played by a few functions."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from consent_server import clock, store
from consent_server.journey import views
from consent_server.journey.browser import digest
from consent_server.journey.parts import (
    Accounts,
    Asker,
    Grant,
    JourneyParts,
    Limits,
    Management,
    ShownText,
    Storage,
)
from consent_server.journey.steps import CAP_STEPS, COOKIE_MAX_AGE_S, EDP_STEPS, path_of
from consent_server.metering.register import Identified
from consent_server.scheme import licenses
from consent_server.store import journeys
from consent_server.store.digests import new_id, new_secret
from consent_server.store.models import db
from consent_server.web import correlation, headers, pages, refusals
from consent_server.web.limits import Limit
from consent_server.web.sessions import Sessions

ORIGIN = "https://edp.example"
CALLBACK = "https://cap.example:8443/callback?a=1"
LICENSE = "https://registry.example/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12"
CLIENT = "https://directory.example/a/cap"
TEXT = "Carbon Accounting R Us may fetch from Meter Data Corp:\n\n* your electricity\n* your gas\n\n_For one year._\n"
ELECTRICITY = {
    "id": "m-el",
    "fuel": "electricity",
    "measures": ["import"],
    "outcode": "SW8",
    "masked": "••••••••• 2345",
}
GAS = {"id": "m-gas", "fuel": "gas", "measures": ["import"], "outcode": "SW8", "masked": "•••••• 4403"}
GOOD = {"postcode": "sw8 1aa", "mpan": "12 1234 5678 902", "mprn": "3938424403"}
PROOF = {"method": "Postcode and MPAN", "strength": "Knows a bill"}
NOW = 1_790_000_000


class HeldClock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> int:
        return self.at


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldClock:
    held = HeldClock()
    monkeypatch.setattr(clock, "now", held)
    return held


@dataclass(frozen=True)
class Start:
    """What /authorize answers with: where to, and the cookie that makes the journey this browser's."""

    path: str
    cookie: str
    value: str
    max_age: int = COOKIE_MAX_AGE_S


@dataclass
class World:
    """What the party's other rooms did and would answer."""

    app: Flask
    parts: Any = None
    origin: str = ORIGIN
    decisions: list[Any] = field(default_factory=list)
    declined: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    looked_up: list[tuple[Any, ...]] = field(default_factory=list)
    mail: list[str] = field(default_factory=list)
    text: str = TEXT
    fuels: frozenset[str] = frozenset({"electricity", "gas"})
    names: dict[str, str] = field(default_factory=lambda: {"CAP": "Carbon Accounting R Us", "EDP": "Meter Data Corp"})
    asker: Asker = field(default_factory=lambda: Asker("Carbon Accounting R Us", "Carbon Accounting R Us Limited"))
    codes: set[str] = field(default_factory=set)
    connected: bool = True
    grants: list[Grant] = field(default_factory=list)

    def shown_text(self, _license: str, _client: str, _sme: str) -> ShownText:
        shown = digest(self.text)
        return ShownText(
            licenses.render(self.text), self.text, shown, "a" * 64, self.names, self.fuels, "Energy License", "1 year"
        )

    def identify(self, postcode: str, mpan: str | None, mprn: str | None) -> Identified | None:
        self.looked_up.append((postcode, mpan, mprn))
        known = {None, "1212345678902", "3938424403"}
        if postcode != "SW8 1AA" or {mpan, mprn} - known:
            return None
        return Identified("sme-1", "Acme Widgets Ltd", [m for m, n in ((ELECTRICITY, mpan), (GAS, mprn)) if n])

    def conclude(self, journey: Any, decision: Any) -> str | None:
        with store.writing() as c:
            if not journeys.conclude(c, journey.id, clock.now()):
                return None
        self.decisions.append(decision)
        self.codes.add(decision.code)
        return f"{journey.redirect_uri}&" + urlencode({"code": decision.code, "state": journey.state, "iss": ORIGIN})

    def decline(self, journey: Any) -> str | None:
        with store.writing() as c:
            if not journeys.conclude(c, journey.id, clock.now()):
                return None
        self.declined.append(journey.id)
        return self._declined(journey)

    def _declined(self, journey: Any) -> str:
        return f"{journey.redirect_uri}&error=access_denied&state={journey.state}&iss={ORIGIN}"

    def again(self, journey: Any, code: str) -> str | None:
        if journey.id in self.declined:
            return self._declined(journey)
        return f"{journey.redirect_uri}&code={code}&state={journey.state}&iss={ORIGIN}" if code in self.codes else None

    def check_code(self, email: str, code: str) -> Any:
        if email == "owner@acme.example" and code == "123456" and not self.codes & {"used"}:
            self.codes.add("used")
            return SimpleNamespace(sme="account-1", business="Acme Widgets Ltd")
        return None

    def withdraw(self, permission: str, sme: str) -> bool:
        assert sme == "sme-1"
        for number, grant in enumerate(self.grants):
            if grant.permission.id == permission and grant.permission.ended is None:
                ended = SimpleNamespace(**{**vars(grant.permission), "ended": clock.now(), "ended_as": "withdrawn"})
                self.grants[number] = Grant(ended, grant.evidence)
                self.withdrawn.append(permission)
                return True
        return False

    def pushed(self, **changes: Any) -> Any:
        """A pushed request, as the store has it."""
        values = {
            "digest": "r" * 64,
            "client_id": CLIENT,
            "member": "https://directory.example/m/cap",
            "redirect_uri": CALLBACK,
            "state": "s-1",
            "license": LICENSE,
            "code_challenge": "c" * 43,
        }
        return SimpleNamespace(**{**values, **changes})

    def journey(self, **pushed: Any) -> Start:
        """Begin a journey, as /authorize does."""
        journey, secret = new_id(), new_secret()
        with self.app.app_context(), store.writing() as c:
            journeys.open(c, journey, secret, self.pushed(**pushed), clock.now())
        return Start(path_of(self.parts.steps[0], journey), self.parts.cookie(journey), secret)

    def browser(self) -> "Browser":
        return Browser(self.app)

    def begun(self, **pushed: Any) -> "Browser":
        """A browser that /authorize has just sent into a new journey."""
        began = self.journey(**pushed)
        browser = self.browser()
        browser.client.set_cookie(began.cookie, began.value, domain="localhost", secure=True)
        browser.cookie = began.cookie
        browser.open(began.path)
        return browser


def make_grant(number: int = 1, **permission: Any) -> Grant:
    values = {
        "id": f"p-{number}",
        "client_id": CLIENT,
        "license": LICENSE,
        "fuels": ["electricity", "gas"],
        "meters": [ELECTRICITY, GAS],
        "granted": NOW - 86_400 * number,
        "expires": NOW + 86_400 * 300,
        "ended": None,
        "ended_as": None,
    }
    evidence = SimpleNamespace(
        id=f"evidence-{number}-{'x' * 12}",
        text_shown=TEXT,
        shown_sha256=digest(TEXT),
        raw_sha256="a" * 64,
        names={"client": "Carbon Accounting R Us Limited", "host": "cap.example:8443", "license": "Energy License"},
        who={"business": "Acme Widgets Ltd", "name": "Ada <b>Smith</b>", "capacity": "Director"} | PROOF,
        address="192.0.2.7",
        user_agent="A browser",
        correlation_id="c0ffee",
    )
    return Grant(SimpleNamespace(**{**values, **permission}), evidence)


def build(tmp_path: Path, party: str, **changes: Any) -> World:
    app = Flask("party")
    store.init(app, f"sqlite:///{tmp_path / 'party.db'}")
    world = World(app)
    correlation.install(app)
    headers.install(app)
    refusals.install(app, door="public", origin=ORIGIN)
    pages.install(app, brand=lambda: "Meter Data Corp", sandbox=True)

    def limit(name: str, most: int, window: int = 600) -> Limit:
        return Limit(name, most, window, store.reading, store.writing)

    def load(journey_id: str) -> Any:
        with store.reading() as c:
            return journeys.find(c, journey_id)

    def save(journey_id: str, at: int, progress: dict[str, Any] | None, claimed: int | None) -> None:
        with store.writing() as c:
            journeys.touch(c, journey_id, at, progress, claimed)

    def rotate(journey_id: str, secret: str) -> None:
        with store.writing() as c:
            journeys.rotate(c, journey_id, secret)

    sessions = Sessions("manage", f"__Host-{party}-manage", 1800, 3600, store.reading, store.writing)
    values: dict[str, Any] = {
        "party": party,
        "origin": ORIGIN,
        "idle_s": 900,
        "life_s": 3600,
        "steps": EDP_STEPS if party == "edp" else CAP_STEPS,
        "storage": Storage(load, save, rotate),
        "limits": Limits(
            limit("meter", 10, 86_400),
            limit("journey", 20),
            limit("address", 200),
            limit("account", 10),
            limit("mail", 5),
            limit("ev", 5),
        ),
        "text_for": world.shown_text,
        "client": lambda _client: world.asker,
        "conclude": world.conclude,
        "decline": world.decline,
        "again": world.again,
        "evidence": lambda sought: (
            sorted(world.grants, key=lambda g: g.evidence.id != sought)
            if any(g.evidence.id == sought for g in world.grants)
            else ()
        ),
        "identify": world.identify if party == "edp" else None,
        "accounts": Accounts(world.mail.append, world.check_code, lambda _sme: world.connected, "/connect")
        if party == "cap"
        else None,
        "management": Management(sessions, lambda sme: world.grants if sme == "sme-1" else (), world.withdraw)
        if party == "edp"
        else None,
    }
    world.parts = JourneyParts(**{**values, **changes})
    for blueprint in views.blueprints(world.parts):
        app.register_blueprint(blueprint)
    with app.app_context():
        db.create_all()
    return world


@pytest.fixture
def edp(tmp_path: Path, held: HeldClock) -> World:
    return build(tmp_path, "edp")


@pytest.fixture
def cap(tmp_path: Path, held: HeldClock) -> World:
    return build(tmp_path, "cap")


class Elements(HTMLParser):
    """A page's elements, flat: what the inspection needs."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.forms: list[dict[str, Any]] = []
        self.text_of: dict[str, str] = {}
        self._inside: list[str] = []
        self._form: dict[str, Any] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        a = {name: value or "" for name, value in attrs}
        self.found.append((tag, a))
        if tag == "form":
            self._form = {"action": a.get("action", ""), "method": a.get("method", "get"), "fields": {}, "buttons": []}
            self.forms.append(self._form)
        if self._form is not None and tag == "input" and a.get("type") != "checkbox":
            self._form["fields"][a["name"]] = a.get("value", "")
        if self._form is not None and tag in {"button", "input"}:
            self._form["buttons"].append(a)
        if "id" in a:
            self._inside.append(a["id"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    def ids(self) -> list[str]:
        return [a["id"] for _, a in self.found if "id" in a]


TOKEN_SHAPED = re.compile(r"eyJ[A-Za-z0-9_-]+\.|\b\d+\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}")


def inspect(response: TestResponse) -> None:
    """What holds for every page that we show."""
    html = response.get_data(as_text=True)
    page = Elements(html)
    ids = page.ids()
    assert [tag for tag, _ in page.found].count("h1") == 1
    assert len(ids) == len(set(ids)), "an id stands twice"
    labelled = {a.get("for") for tag, a in page.found if tag == "label"}
    for tag, a in page.found:
        assert tag not in {"script", "iframe", "object", "embed", "base"}
        assert not any(name.startswith("on") or name == "style" for name in a), f"inline code on {tag}"
        for name in ("src", "href") if tag in {"link", "img", "source"} else ("src",):
            assert a.get(name, "/").startswith("/"), f"{tag} fetches {a[name]}"
        if tag == "input" and a.get("type") != "hidden":
            assert a["id"] in labelled, f"{a['id']} has no label"
        if tag == "a" and a.get("href", "").startswith("#"):
            assert a["href"][1:] in ids, f"{a['href']} leads nowhere"
        for described in a.get("aria-describedby", "").split():
            assert described in ids
    for form in page.forms:
        assert form["method"] == "get" or form["fields"].get("csrf"), "a form without CSRF token"
        assert form["action"].startswith("/")
    assert not TOKEN_SHAPED.search(html)
    assert "<title>" in html
    assert "lang=" in html
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "Cookie" in response.headers["Vary"]
    assert response.headers["X-Request-Id"] in html
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'")
    assert "unsafe" not in policy


class Browser:
    """A client that inspects every page it gets, and fills forms by the ids of their controls."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()
        self.cookie = ""
        self.response: TestResponse = None  # type: ignore[assignment]

    @property
    def html(self) -> str:
        return self.response.get_data(as_text=True)

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def path(self) -> str:
        return self.response.request.path

    @property
    def page(self) -> Elements:
        return Elements(self.html)

    @property
    def location(self) -> str:
        return self.response.headers.get("Location", "")

    @property
    def landed(self) -> dict[str, str]:
        """The query of the redirect that left us."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.location).query).items()}

    def open(self, path: str, **kwargs: Any) -> "Browser":
        return self._follow(self.client.get(path, base_url="https://localhost", **kwargs))

    def post(self, path: str, data: dict[str, str], follow: bool = True, **kwargs: Any) -> "Browser":
        response = self.client.post(path, data=data, base_url="https://localhost", **kwargs)
        if follow:
            return self._follow(response)
        self.response = response
        return self

    def form_of(self, button: str, **typed: str) -> tuple[str, dict[str, str], str]:
        """Action, fields and method of the form with this button, as a browser would send it."""
        for form in self.page.forms:
            for control in form["buttons"]:
                if control.get("id") == button:
                    fields = {**form["fields"], **typed}
                    if control.get("name"):
                        fields[control["name"]] = control.get("value", "")
                    return form["action"], fields, form["method"]
        raise AssertionError(f"no button {button} on {self.path}: {self.page.ids()}")

    def click(self, button: str, **typed: str) -> "Browser":
        action, fields, method = self.form_of(button, **typed)
        return self.post(action, fields) if method == "post" else self.open(f"{action}?{urlencode(fields)}")

    def secret(self) -> str:
        cookie = self.client.get_cookie(self.cookie, domain="localhost")
        assert cookie is not None
        return cookie.value

    def _follow(self, response: TestResponse) -> "Browser":
        while response.status_code == 303 and response.headers["Location"].startswith("/"):
            response = self.client.get(response.headers["Location"], base_url="https://localhost")
        self.response = response
        if response.mimetype == "text/html" and response.status_code not in {302, 303, 307, 308}:
            inspect(response)
        return self


@pytest.fixture
def build_party() -> Any:
    return build


@pytest.fixture
def grant_of() -> Any:
    return make_grant
