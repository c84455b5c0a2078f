"""Whatever is sent to any route of any door, by a stranger, a browser or a client: never a fault, and our own origin alone."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from consent_server import clock, store
from consent_server.issuer import issue
from consent_server.journey.log_in import LogInUnreachable
from consent_server.pki import member_certificate
from consent_server.store import permissions, sessions
from consent_server.store.database import db
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.web import csrf
from tests.deployments import layout, opened
from tests.journey.conftest import EMAIL, LIMITS, World, with_meters

#: What has broken such software before: SQL, templates, formats, numbers that are none, hosts that cannot be parsed.
NASTY = (
    *("\0", "a\0b", "\ud800", "a\udfffb", "\r\nSet-Cookie: a=b", "\x1b[31m", "\x85", "\u202egnp", "\u2028", "\ufeff"),
    *("'; DROP TABLE permission;--", '" OR ""="', "%s%n{0}{{7*7}}${x}", "<script>", "../../etc/passwd", "\\", "%00", "%"),
    *("1e999", "NaN", "-1", "9" * 5000, "99999999999999999999", "²", "٣", "0x10", "2026-02-31T99:00:00Z", "9999-12-31"),
    *("", " ", "A" * 9000, "é", "😀", "[", "https://[", "https://\u2100.example", "https://x:99999", "https://xn--/", "//"),
)  # fmt: skip
NAMES = (
    *("client_id", "request_uri", "redirect_uri", "response_type", "scope", "state", "code_challenge"),
    *("code_challenge_method", "grant_type", "code", "code_verifier", "refresh_token", "token", "client_secret", "from", "to"),
    *("journey", "permission", "postcode", "mpan", "mprn", "name", "capacity", "checked", "email", "agree", "shown"),
    *("provider", "business", "fsp", "cookie", "access_token"),
)  # fmt: skip
#: Values with which more of a request is read.
GOOD = {"grant_type": "authorization_code", "response_type": "code", "code_challenge_method": "S256", "agree": "yes"}
STEPS = ("identify", "sign-in", "code", "permission")
HEADERS = (
    *("AUTHORIZATION", "ORIGIN", "SEC_FETCH_SITE", "USER_AGENT", "X_REQUEST_ID", "ACCEPT", "REFERER", "COOKIE", "RANGE"),
    *("HOST", "X_FORWARDED_FOR", "X_FORWARDED_HOST", "FORWARDED", "IF_NONE_MATCH", "IF_MODIFIED_SINCE", "CONTENT_ENCODING"),
    *("TRANSFER_ENCODING", "CLIENT_CERT", "X_SSL_CLIENT_CERT"),
)  # fmt: skip
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
SECRET = "s" * 43

texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=30))
octets = st.one_of(texts.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=20))
pairs = st.lists(st.tuples(st.sampled_from(NAMES), octets), max_size=5)
keys = st.one_of(st.sampled_from(("subject", "body", "token", "ib1:message")), texts)
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=8,
)


@dataclass(frozen=True)
class Sent:
    """What is sent to one of the door's routes. With `honest` it comes with the token of our own form, and good values."""

    route: int
    method: str
    parts: list[bytes]
    query: list[tuple[str, bytes]]
    form: list[tuple[str, bytes]]
    document: Any
    raw: bytes
    body: str
    content_type: str | None
    headers: dict[str, bytes]
    honest: bool


anything = st.builds(
    Sent,
    route=st.integers(0, 10_000),
    method=st.sampled_from(("own", "own", "own", "own", "PUT", "é")),
    parts=st.lists(octets, min_size=3, max_size=3),
    query=pairs,
    form=pairs,
    document=documents,
    raw=octets,
    body=st.sampled_from((FORM, FORM, FORM, JSON, "raw")),
    content_type=st.sampled_from((None, None, None, FORM, JSON, "multipart/form-data; boundary=x", "é", "")),
    headers=st.dictionaries(st.sampled_from(HEADERS), octets, max_size=2),
    honest=st.booleans(),
)


def encoded(named: list[tuple[str, bytes]]) -> str:
    return "&".join(f"{name}={quote(value)}" for name, value in named)


class Door:
    """A door of a party, which knows the browser and the client that call it."""

    def __init__(self, world: World, app: Flask, kind: str) -> None:
        self.world, self.app, self.kind, self.times = world, app, kind, 0
        self.party = world.deployment.settings.party
        self.sme = "sme-1" if self.party == "edp" else "account-1"
        pem = layout().certificate("cap" if self.party == "edp" else "fsp", "certificate").read_bytes()
        self.caller = member_certificate.parse(member_certificate.one_pem(pem))
        # /ready says 503 here, as it should: there is no revocation list
        rules = [rule for rule in app.url_map.iter_rules() if rule.rule != "/ready"]
        self.routes = [(rule.rule, sorted((rule.methods or set()) - {"HEAD"})) for rule in rules]
        world.keep_grant(1, client_id=self.caller.application, sme=self.sme)
        with app.app_context():
            with store.reading() as c:
                granted = permissions.find(c, "p-1")
            assert granted is not None
            self.token = issue.token_response(granted, self.caller, clock.now())["access_token"]

    def visit(self) -> dict[str, str]:
        """Sign in once more, since what was sent before may have signed out; return the browser's cookies."""
        kind, data = (
            ("manage", {"sme": self.sme, "business": "Acme"})
            if self.party == "edp"
            else ("portal", {"account": self.sme})
        )
        with self.app.app_context(), store.writing() as c:
            sessions.end(c, SECRET)
            sessions.make(c, SECRET, kind, data, clock.now())  # type: ignore[arg-type]
        if self.times % 25 == 0:
            self.journey = self.world.journey()
        cookie = f"__Host-{self.party}-{kind}"
        return {cookie: SECRET, f"{cookie}-form": SECRET, self.journey.cookie: self.journey.value}

    def call(self, sent: Sent) -> TestResponse:
        cookies = self.visit() if self.kind == "public" else {}
        self.times += 1
        rule, methods = self.routes[sent.route % len(self.routes)]
        parts = iter(sent.parts)
        path = re.sub("<[^>]+>", lambda _: next(parts).decode("latin-1"), rule)
        form, query = list(sent.form), list(sent.query)
        if sent.honest and rule.startswith("/journey/"):
            path = f"/journey/{STEPS[sent.route % len(STEPS)]}" if "<" in rule else path
            query = [("journey", self.journey.path.partition("journey=")[2].encode())]
        if sent.honest:
            secret = self.journey.value if cookies and rule.startswith("/journey/") else SECRET
            form = [(name, GOOD.get(name, "").encode() or value) for name, value in dict(form).items()]
            form += [("csrf", csrf.token(secret).encode()), ("client_id", self.caller.application.encode())]
        bodies = {FORM: encoded(form).encode(), JSON: json.dumps(sent.document).encode(), "raw": sent.raw}
        known = {"HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        if rule.startswith(("/datasources", "/emissions")):
            known = {"HTTP_AUTHORIZATION": f"Bearer {self.token}"}
        return self.app.test_client(use_cookies=False).open(
            "/",
            base_url="https://localhost",
            method=methods[sent.route % len(methods)] if sent.method == "own" else sent.method,
            data=bodies[sent.body],
            environ_overrides={
                **known,
                **{f"HTTP_{name}": value.decode("latin-1") for name, value in sent.headers.items()},
                "CONTENT_TYPE": sent.body.replace("raw", FORM) if sent.content_type is None else sent.content_type,
                "PATH_INFO": path,
                "QUERY_STRING": encoded(query),
                "REMOTE_ADDR": "192.0.2.7",
                "test.client": self.caller,
            },
        )


@pytest.fixture(params=["edp", "cap"])
def world(request: pytest.FixtureRequest, database_url: str, held_clock: Any) -> Iterator[World]:
    """A party that knows one business, whose limits nobody reaches."""
    changes = {f"limits.{name}": str(10**6) for name in (*LIMITS, "pushed_requests_per_client")}
    made = World(request.param, database_url, "https://localhost", "sandbox", changes)
    made.directory.data_services = lambda standard: []  # type: ignore[attr-defined]
    if request.param == "edp":
        with_meters(made)
    else:
        urls = dict.fromkeys(
            ("issuer", "resource", "member", "application", "license"), "https://directory.example/a/edp"
        )
        more = {"refresh_sealed": b"", "refresh_mac": "0" * 64, "granted": 0, "expires": 2**31}
        made.directory.name(urls["member"], "Meter Data Corp", "Meter Data Corp Limited")
        made.keep(SmeAccount("account-1", EMAIL, "Acme Widgets Ltd", created=0))
        made.keep(ProviderConnection(id="connection-1", account="account-1", **urls, **more))
    yield made
    made.close()


@pytest.fixture(params=["public", "mutual_tls"])
def door(request: pytest.FixtureRequest, world: World) -> Iterator[Door]:
    app = world.app if request.param == "public" else opened(world.deployment, "mutual_tls")
    yield Door(world, app, request.param)
    with app.app_context():
        db.engine.dispose()


def never_a_fault(door: Door, caplog: pytest.LogCaptureFixture, cases: int, *, derandomize: bool) -> None:
    checks = list(HealthCheck)

    @settings(max_examples=cases, derandomize=derandomize, deadline=None, database=None, suppress_health_check=checks)
    @given(anything)
    def sent(one: Sent) -> None:
        caplog.clear()
        response = door.call(one)
        # The EDP's provider of customers' log-ins is not there, which is no fault of ours, and its page says so.
        away = response.status_code == 503 and LogInUnreachable.public in response.get_data(as_text=True)
        assert response.status_code < 500 or away, (response.request.path, response.status_code, ascii(caplog.text))
        assert response.headers["X-Request-Id"]

    sent()


def test_H14_F05_a_few_hundred_requests(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    never_a_fault(door, caplog, 60, derandomize=True)


@pytest.mark.parametrize(("world", "door", "database_url"), [("cap", "public", "sqlite")], indirect=True)
def test_a_bank_that_the_directory_does_not_have_is_no_fault(door: Door) -> None:
    """The settings name a bank, which the played Directory does not have."""
    cookies = "; ".join(f"{name}={value}" for name, value in door.visit().items())
    browser = door.app.test_client(use_cookies=False)
    response = browser.get("/result", base_url="https://localhost", environ_overrides={"HTTP_COOKIE": cookies})
    assert response.status_code == 303, response.text


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_H14_F05_fifty_thousand_requests(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    never_a_fault(door, caplog, 6250, derandomize=False)


EVIL = "evil.example"
FALSE = {
    "Host": {"HTTP_HOST": EVIL},
    "Host with a port": {"HTTP_HOST": f"{EVIL}:444"},
    "forwarding headers": {
        "HTTP_X_FORWARDED_HOST": EVIL,
        "HTTP_X_FORWARDED_PROTO": "http",
        "HTTP_X_FORWARDED_PORT": "444",
        "HTTP_X_FORWARDED_PREFIX": f"/{EVIL}",
        "HTTP_X_FORWARDED_SERVER": EVIL,
        "HTTP_X_ORIGINAL_URL": f"https://{EVIL}/",
        "HTTP_X_REWRITE_URL": f"https://{EVIL}/",
        "HTTP_FORWARDED": f"for={EVIL};host={EVIL};proto=http",
        "HTTP_X_FORWARDED_FOR": EVIL,
    },
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_E14_a_false_host_changes_nothing_on_any_page(door: Door) -> None:
    """Issuer, links, redirects and cookies: each answer is the one that the true host gets."""

    def seen(path: str, method: str, more: dict[str, str]) -> tuple[Any, ...]:
        cookies = {**door.visit()} if door.kind == "public" else {}
        environ = {
            "HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in cookies.items()),
            "HTTP_AUTHORIZATION": f"Bearer {door.token}",
            "test.client": door.caller,
            **more,
        }
        client = door.app.test_client(use_cookies=False)
        response = client.open(path, method=method, base_url="https://localhost", environ_overrides=environ)
        # Neither the value nor the second at which it was set.
        set_cookies = [
            re.sub("(?<=Expires=)[^;]*", "…", re.sub("=[^;]*;", "=…;", cookie, count=1))
            for cookie in response.headers.getlist("Set-Cookie")
        ]
        response.headers.remove("Set-Cookie")
        assert EVIL not in response.text + str(response.headers)
        named = response.headers.get("Location", ""), response.headers["Content-Type"]
        text = response.text.replace(response.headers["X-Request-Id"], "")
        new = r'name="csrf" value="\w+"|\.[\w-]{86}$|challenge&#34;: &#34;[\w-]+'
        return response.status_code, named, set_cookies, re.sub(new, "", text)

    door.times = 1
    if door.kind == "public":
        door.journey = door.world.journey()
    for rule, methods in door.routes:
        path = re.sub("<[^>]+>", "identify", rule)
        if path.startswith("/journey/") and door.kind == "public":
            path += "?journey=" + door.journey.path.partition("journey=")[2]
        for method in methods:
            honest = seen(path, method, {})
            for name, more in FALSE.items():
                assert seen(path, method, more) == honest, (path, method, name)
