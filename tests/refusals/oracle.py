"""The standing oracle of the security matrix: what must hold after every refusal, looked at from outside.

(a) the stated answer; (b) the store is unchanged; (c) one audit event `refused` with the reason, under the answer's
correlation id; (d) no token, code, meter number or stack trace in log or body; (e) no-store; (f) the next honest request
succeeds. A refusal inside the TLS handshake is one `handshake_refused` line instead of an answer.
"""

import json
import re
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from consent_server import clock
from consent_server.sandbox.client import Client
from consent_server.settings import load
from tests.conftest import RunningSandbox
from tests.waiting import until

Rows = list[Any]

#: Kept up by the worker and the doors or counted on purpose: fetched copies, how jobs, nodes and parts are, the signed status
#: list, failed attempts, the grid's figures and what is worked out with them. Readings are too many to compare.
_NOT_COMPARED = frozenset(
    {"alembic_version", "fetched", "job_run", "node", "status_list", "attempt", "day_block", "meter"}
    | {"grid_day", "meter_month", "month", "probe", "probe_day", "served_hour"}
)
#: What the worker and the status list write into rows by themselves: a delivery's or a collection's progress, or that the list
#: has the end of a permission that an earlier case ended, is no consequence of a refusal.
_PROGRESS = {
    "outbox": frozenset({"due", "leased", "attempts", "delivered", "given_up", "last_error"}),
    "permission": frozenset({"listed"}),
    "connection": frozenset({"collect_due", "leased", "collected", "trouble", "listed", "failures"}),
    "collected_meter": frozenset({"due", "failures", "trouble"}),
    "session": frozenset({"seen"}),
    "audit_event": frozenset({"position", "contents", "digest"}),
}
#: The audit events of an outbox's progress.
_SENT = "'message_sent', 'message_given_up', 'revocation_sent', 'revocation_given_up'"
_NEVER_WRITTEN = {
    "a token": re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}"),
    "a refresh token": re.compile(r"\b\d{1,4}\.[\w-]{20,}\.[\w-]{20,}"),
    "a request_uri": re.compile(r"urn:ietf:params:oauth:request_uri:[\w-]{8,}"),
    "a certificate": re.compile(r"BEGIN[ %+]+(20)?CERTIFICATE"),
    "a stack trace": re.compile(r"Traceback \(most recent|\bFile \\?\"[^\"]+\", line \d"),
    "an error line": re.compile(r'"level":"(error|critical)"'),
}
_LOG_WITHIN_S = 30.0


class Store:
    """One party's database, read beside the server, through the settings that the server has."""

    def __init__(self, settings: Path) -> None:
        loaded = load(settings)
        self._engine = sa.create_engine(loaded.database.url, pool_size=1)
        assert loaded.sandbox.clock is not None
        self._clock = loaded.sandbox.clock
        metadata = sa.MetaData()
        metadata.reflect(self._engine)
        self._tables = {name: table for name, table in metadata.tables.items() if name not in _NOT_COMPARED}
        # as text, so that values come as they lie there: this runs twice for every case
        self._statements = {name: sa.text(self._statement(table)) for name, table in self._tables.items()}

    def contents(self) -> dict[str, Rows]:
        """Every compared table's rows, in the order of their keys, once the mails that are owed have gone."""
        until(self._mails_have_gone, "mails of what was done before are still owed")
        with self._engine.connect() as c:
            return {name: list(c.execute(statement)) for name, statement in self._statements.items()}

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        """All of one table, for a test that looks at something of its own."""
        with self._engine.connect() as c:
            return [dict(row) for row in c.execute(sa.select(self._tables[table])).mappings()]

    def _mails_have_gone(self) -> bool:
        """Whether the worker has sent the mails that were due when they were owed: each is an audit event of its own.

        One that became due while a test had stepped the clock ahead waits for as long as that.
        """
        now = clock.now() + int.from_bytes(self._clock.read_bytes(), "little", signed=True)
        at_once = [row for row in self.rows("owed_mail") if row["due"] <= min(row["created"], now)]
        return all(row["delivered"] or row["given_up"] for row in at_once)

    def _statement(self, table: sa.Table) -> str:
        progress = _PROGRESS.get(table.name, frozenset())
        columns = ", ".join(f'"{column.name}"' for column in table.columns if column.name not in progress)
        keys = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
        which = f"WHERE event NOT IN ({_SENT})" if table.name == "audit_event" else ""
        return f'SELECT {columns} FROM "{table.name}" {which} ORDER BY {keys}'


class Log:
    """One process's log from a moment on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._from = path.stat().st_size

    def text(self) -> str:
        with self.path.open("rb") as file:
            file.seek(self._from)
            return file.read().decode("utf-8", errors="replace")

    def lines(self, **fields: Any) -> list[dict[str, Any]]:
        """The whole lines since then that carry these values; every line of a door's log is JSON."""
        found = [json.loads(line) for line in self.text().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in found if all(line.get(name) == value for name, value in fields.items())]

    def wait(self, **fields: Any) -> list[dict[str, Any]]:
        until = time.monotonic() + _LOG_WITHIN_S
        while not (found := self.lines(**fields)) and time.monotonic() < until:
            time.sleep(0.01)
        return found

    def wait_for(self, text: str) -> str:
        """Whole lines that contain `text`, for logs of others that are not JSON; "" when none comes."""
        until = time.monotonic() + _LOG_WITHIN_S
        while True:
            found = [line for line in self.text().splitlines(keepends=True) if text in line and line.endswith("\n")]
            if found or time.monotonic() > until:
                return "".join(found)
            time.sleep(0.01)


def numbers_of_meters(manifest: Mapping[str, Any]) -> set[str]:
    """Every MPAN and MPRN that the sandbox's SMEs would type."""
    steps = [step for sme in manifest["smes"] for step in sme["journey"]["edp"]]
    return {step["fill"][name] for step in steps for name in ("mpan", "mprn") if step["fill"].get(name)}


class Oracle:
    """Acts against one sandbox are handed to it; it holds everything that must hold after each."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self.sandbox = sandbox
        self.manifest = sandbox.manifest
        self.stores = {party: Store(sandbox.directory / party / "settings.toml") for party in ("edp", "cap")}
        self._meters = numbers_of_meters(self.manifest)
        self._honest = self.client("cap2")
        self._honest.discover(self.manifest["issuers"]["edp"])
        self._public = httpx.Client(verify=sandbox.server_context(), timeout=30, trust_env=False)

    def client(self, name: str) -> Client:
        """A client of the manifest, without metadata yet."""
        return Client(self.manifest["clients"][name], self.manifest["trust"]["server_ca"])

    def log(self, door: str) -> Log:
        """The log of "edp_public", "edp_mutual_tls", "cap_…", from now on."""
        return Log(self.sandbox.directory / "logs" / f"{door}.log")

    def refused(
        self,
        act: Callable[[], httpx.Response],
        refusal: str | Collection[str],
        status: int,
        error: str | None = None,
        *,
        door: str = "edp_mutual_tls",
        secrets: Iterable[str] = (),
        may_change: Collection[str] = (),
        honest: Callable[[], object] | None = None,
    ) -> httpx.Response:
        """`act` is refused for `refusal` (one reason code, or any of several) with `status`; answers the answer.

        `error` is the OAuth error of a JSON answer, or of the redirect when `status` is 303. `secrets` are texts that were
        sent and must be nowhere. `may_change` names tables whose change is the point of the case. `honest` is the next honest
        request, where another than a push (and its opening, at the public door) is wanted.
        """
        codes = {refusal} if isinstance(refusal, str) else set(refusal)
        store, log = self.stores[door.split("_")[0]], self.log(door)
        before = store.contents()
        answer = act()
        # (a)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text[:400]}"
        if answer.is_redirect:
            location = httpx.URL(answer.headers["Location"])
            assert location.params.get("error") == error, str(location)
            assert "code" not in location.params, "a code went out"
        elif answer.headers.get("Content-Type", "").startswith("application/json"):
            body = answer.json()
            assert error is None or body["error"] == error, body
            assert {"error", "error_description", "error_uri", "correlation_id"} <= body.keys()
            assert body["correlation_id"] == answer.headers["X-Request-Id"]
            assert body["error_uri"].rsplit("/", 1)[1] in codes, body
        else:
            assert door.endswith("_public"), "a refusal at the mutual-TLS door is JSON"
        # (b)
        self._unchanged(before, store.contents(), may_change)
        # (c)
        identifier = answer.headers["X-Request-Id"]
        assert log.wait(event="request", correlation_id=identifier), "no access line"
        events = log.lines(event="refused", correlation_id=identifier)
        assert [event["refusal"] in codes and event["status"] == status for event in events] == [True], events
        # (d) and (e)
        self._says_nothing(log.text(), "the log", secrets)
        self._says_nothing(answer.text, "the answer", secrets)
        assert "no-store" in answer.headers.get("Cache-Control", ""), answer.headers
        # (f)
        (honest or self._honest_request(door))()
        return answer

    def not_understood(
        self,
        act: Callable[[], tuple[int, str]],
        statuses: Collection[int],
        *,
        door: str = "edp_mutual_tls",
        secrets: Iterable[str] = (),
    ) -> None:
        """`act` sends bytes that never become a request, and returns status and body: JSON, and one line in the log."""
        store, log = self.stores[door.split("_")[0]], self.log(door)
        before = store.contents()
        status, text = act()
        body = json.loads(text)
        assert status in statuses, text
        assert body.keys() == {"error", "error_description", "error_uri", "correlation_id"}
        self._unchanged(before, store.contents(), ())
        assert log.wait(correlation_id=body["correlation_id"]), "no line under the answer's correlation id"
        assert not log.lines(event="refused"), "it reached the application"
        self._says_nothing(log.text(), "the log", secrets)
        self._says_nothing(text, "the answer", secrets)
        self._honest_request(door)()

    def handshake_refused(
        self,
        act: Callable[[], object],
        *,
        door: str = "edp_mutual_tls",
        honest: Callable[[], object] | None = None,
    ) -> str:
        """`act` meets a TLS alert: one `handshake_refused` line, whose reason is answered, and nothing in the application."""
        store, log = self.stores[door.split("_")[0]], self.log(door)
        before = store.contents()
        try:
            answered = act()
        except (ssl.SSLError, httpx.TransportError, ConnectionError):
            answered = None
        assert answered is None, f"no alert, but {answered!r}"
        lines = log.wait(event="handshake_refused")
        assert len(lines) == 1, lines
        assert not log.lines(event="refused"), "it reached the application"
        self._unchanged(before, store.contents(), ())
        self._says_nothing(log.text(), "the log", ())
        (honest or self._honest_request(door))()
        reason: str = lines[0]["reason"]
        return reason

    def good_push(self, client: str) -> dict[str, str]:
        """A pushed request of a client of the manifest that nothing is wrong with."""
        return {
            "response_type": "code",
            "client_id": self.manifest["clients"][client]["client_id"],
            "redirect_uri": f"https://client.example/{client}",
            "scope": self.manifest["licenses"]["electricity_and_gas"],
            "state": "a-state",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "S256",
        }

    def honest_push(self) -> str:
        """Another member's request, pushed; answers where the browser would go."""
        request = self._honest.push(self.manifest["licenses"]["electricity_and_gas"], "https://client.example/honest")
        return request.url

    def _honest_request(self, door: str) -> Callable[[], object]:
        if door == "edp_mutual_tls":
            return self.honest_push
        if door == "edp_public":
            return self._honest_opening
        return lambda: self._public.get(f"{self.manifest['pages'][door.split('_')[0]]}/health").raise_for_status()

    def _honest_opening(self) -> None:
        answer = self._public.get(self.honest_push())
        assert answer.status_code == 303, answer.text[:400]
        assert "error=" not in answer.headers["Location"]

    def _unchanged(self, before: dict[str, Rows], after: dict[str, Rows], may_change: Collection[str]) -> None:
        changed = {name for name in before if before[name] != after[name]}
        assert changed <= set(may_change), f"a refusal changed {', '.join(sorted(changed))}"

    def _says_nothing(self, text: str, where: str, secrets: Iterable[str]) -> None:
        for what, pattern in _NEVER_WRITTEN.items():
            assert not pattern.search(text), f"{what} in {where}"
        for number in self._meters:
            assert not re.search(rf"(?<!\w){number}(?!\w)", text), f"a meter number in {where}"
        for secret in secrets:
            assert secret not in text, f"what was sent is in {where}"
