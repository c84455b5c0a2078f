"""The message door (matrix D12, D14): what is refused changes nothing, and what is said twice has one effect."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from consent_server import clock, store
from consent_server.caller.arrival import Arrival
from consent_server.caller.trust import RoleMissing, Trust, read_revocation_list
from consent_server.pki.member_certificate import MemberCertificate, load_certificates
from consent_server.sandbox.authority import Authority, IssuedCertificate
from consent_server.scheme.messages import MAX_TOKEN, WITHDRAWAL_SUBJECT, withdrawal
from consent_server.store import accounts, connections, links, outbox, permissions, readings
from consent_server.store.database import db
from consent_server.store.models import AuditEvent, Collected, Connection, DayBlock, Month, Outbox, Permission, table
from consent_server.store.sealing import Sealer
from consent_server.web import correlation, refusals
from consent_server.withdrawal import views
from consent_server.withdrawal.inbox import InboxParts

DIRECTORY, REGISTRY = "https://directory.example", "https://registry.example"
EDP_ROLE = f"{REGISTRY}/scheme/perseus/role/energy-data-provider"
CAP_ROLE = f"{REGISTRY}/scheme/perseus/role/carbon-accounting-provider"
FRAMEWORK = f"{REGISTRY}/trust-framework"
ISSUER = "https://edp.example"
TOKEN = "1.token-canary.of+the/connection="
NOW = 1773307800
JSON = "application/json"


@dataclass(frozen=True)
class Senders:
    """Client certificates by name, and the trust that judges them as a door does."""

    issued: dict[str, IssuedCertificate]
    trust: Trust

    def caller(self, environ: Any) -> MemberCertificate:
        return self.trust.caller(Arrival(environ["test.leaf"], ()), clock.now())


@pytest.fixture(scope="session")
def senders(tmp_path_factory: pytest.TempPathFactory) -> Senders:
    authority = Authority(tmp_path_factory.mktemp("senders")).create(NOW)
    wanted: dict[str, tuple[str, str, str, dict[str, Any]]] = {
        "edp": ("edp", "edp", EDP_ROLE, {}),
        "edp-other-server": ("edp-data", "edp", EDP_ROLE, {}),
        "foreign": ("other-edp", "other-edp", EDP_ROLE, {}),
        "without-role": ("edp", "edp", CAP_ROLE, {}),
        "revoked": ("edp", "edp", EDP_ROLE, {}),
        **{fault: ("edp", "edp", EDP_ROLE, {fault: True}) for fault in ("wrong_ca", "self_signed", "expired")},
    }
    issued = {
        name: authority.client(name, f"{DIRECTORY}/a/{application}", f"{DIRECTORY}/m/{member}", [role], **faults)
        for name, (application, member, role, faults) in wanted.items()
    }
    settings: Any = SimpleNamespace(
        clients=SimpleNamespace(root=authority.client_root, issuers=authority.client_issuer),
        scheme=SimpleNamespace(directory=DIRECTORY),
        revocation_list=SimpleNamespace(max_age_s=86400),
        is_sandbox=False,
    )
    root, issuer = (
        load_certificates(path.read_bytes())[0] for path in (authority.client_root, authority.client_issuer)
    )
    revoked = read_revocation_list(authority.crl([issued["revoked"].serial]), [issuer], root, NOW)
    return Senders(issued, Trust(settings, lambda: revoked))


class Inbox:
    """The door as issuers see it, and what its CAP holds."""

    def __init__(self, app: Flask, senders: Senders) -> None:
        self.app, self.senders = app, senders
        self.sealer = Sealer(b"k" * 32)
        parts = InboxParts(
            caller=senders.caller,
            senders=(EDP_ROLE,),
            subjects=(WITHDRAWAL_SUBJECT,),
            mac=self.sealer.mac,
        )
        app.register_blueprint(views.blueprint(parts))

    def post(self, body: Any, sender: str = "edp", **more: Any) -> TestResponse:
        data = body if isinstance(body, bytes) or hasattr(body, "read") else orjson.dumps(body)
        more = {"content_type": JSON, **more}
        return self.app.test_client().post("/messages", data=data, environ_overrides=self.environ(sender), **more)

    def environ(self, sender: str) -> dict[str, Any]:
        return {"test.leaf": self.senders.issued[sender].der}

    def stream(self, body: Any, sender: str = "edp") -> TestResponse:
        """POST a body that does not say how long it is, as a chunked one arrives."""
        chunked = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
        environ = {**self.environ(sender), **chunked}
        return self.app.test_client().post("/messages", content_type=JSON, environ_overrides=environ)

    def withdraw(self, token: str = TOKEN, sender: str = "edp") -> TestResponse:
        return self.post(withdrawal(FRAMEWORK, WITHDRAWAL_SUBJECT, token), sender)

    def connection(self, name: str = "c", token: str = TOKEN, granted: int = NOW) -> str:
        with store.writing() as c:
            connections.add(
                c,
                id=name,
                account="acme",
                issuer=ISSUER,
                resource=ISSUER,
                member=f"{DIRECTORY}/m/edp",
                application=f"{DIRECTORY}/a/edp",
                license=f"{REGISTRY}/license",
                refresh_sealed=self.sealer.seal(token),
                refresh_mac=self.sealer.mac(token),
                granted=granted,
                expires=4102444800,
                collect_due=granted,
            )
            readings.put_days(c, name, "meter", "import", {0: b"{}"})
        return name

    def rows(self) -> dict[str, list[Any]]:
        """Everything that a refused message must leave as it was."""
        models = (Connection, Permission, DayBlock, Collected, Month, Outbox, AuditEvent)
        with store.reading() as c:
            return {
                model.__tablename__: c.execute(table(model).select().order_by(*table(model).primary_key)).all()
                for model in models
            }

    def ended(self, name: str = "c") -> tuple[str | None, str | None]:
        with store.reading() as c:
            row = connections.find(c, name)
        return row.ended_as, row.ended_by


@pytest.fixture
def inbox(database_url: str, held_clock: Any, senders: Senders, caplog: pytest.LogCaptureFixture) -> Iterator[Inbox]:
    caplog.set_level(logging.DEBUG, "consent_server")
    app = Flask("inbox-test")
    store.init(app, database_url)
    correlation.install(app)
    refusals.install(app, door="mutual_tls", origin="https://cap.example")
    with app.app_context():
        db.create_all()
        with store.writing() as c:
            accounts.add(c, id="acme", email="owner@acme.example", business="Acme", created=0)
        yield Inbox(app, senders)
        db.engine.dispose()


def effect(answer: TestResponse) -> str:
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    assert set(answer.json) == {"effect"}
    return str(answer.json["effect"])


# what is believed


def test_a_withdrawal_ends_the_connection_and_forgets_its_data(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    inbox.connection()
    assert effect(inbox.withdraw()) == "withdrawn"
    assert inbox.ended() == ("withdrawn", "sme")
    rows = inbox.rows()
    assert rows["day_block"] == []
    assert rows["outbox"] == [], "who told us is not told back"
    assert [row.event for row in rows["audit_event"]] == ["connection_ended"]
    accepted = next(json.loads(r.message) for r in caplog.records if '"message_accepted"' in r.message)
    assert (accepted["sender"], accepted["subject"], accepted["effect"]) == (f"{DIRECTORY}/a/edp", "c", "withdrawn")
    assert "token-canary" not in caplog.text


def test_what_rested_on_it_falls_and_its_client_is_told(inbox: Inbox) -> None:
    inbox.connection()
    with store.writing() as c:
        permissions.add(
            c,
            id="p",
            account="account",
            client_id=f"{DIRECTORY}/a/fsp",
            member=f"{DIRECTORY}/m/fsp",
            license=f"{REGISTRY}/license",
            fuels=["electricity"],
            text_sha256="0" * 64,
            sme="acme",
            meters=[],
            datasources=[],
            granted=NOW,
            expires=4102444800,
            refresh_id="refresh",
            refresh_version=1,
            redeemed=NOW,
        )
        links.add(c, "c", "p")
    inbox.withdraw()
    with store.reading() as c:
        assert permissions.find(c, "p").ended_as == "withdrawn"
        assert [(row.kind, row.subject, row.recipient) for row in outbox.waiting(c)] == [
            ("message", "p", f"{DIRECTORY}/a/fsp")
        ]


def test_D12_said_twice_it_has_one_effect(inbox: Inbox) -> None:
    inbox.connection()
    assert effect(inbox.withdraw()) == "withdrawn"
    before = inbox.rows()
    assert effect(inbox.withdraw()) == "nothing"
    assert inbox.rows() == before


def test_D12_an_unknown_token_is_accepted_and_does_nothing(inbox: Inbox) -> None:
    inbox.connection()
    before = inbox.rows()
    assert effect(inbox.withdraw("1.somebody-elses")) == "nothing"
    assert inbox.rows() == before


def test_any_application_of_the_member_that_granted_may_say_it(inbox: Inbox) -> None:
    inbox.connection()
    assert effect(inbox.withdraw(sender="edp-other-server")) == "withdrawn"


def test_D14_a_late_message_about_the_old_connection_leaves_the_new_one_alone(inbox: Inbox) -> None:
    inbox.connection("old", "1.old-token")
    assert effect(inbox.withdraw("1.old-token")) == "withdrawn"
    inbox.connection("new", "1.new-token", NOW + 60)
    assert effect(inbox.withdraw("1.old-token")) == "nothing"
    assert inbox.ended("new") == (None, None)
    with store.reading() as c:
        assert readings.extent(c, "new", "meter", "import") == (0, 0)


def test_D14_a_late_message_about_a_superseded_connection_leaves_the_new_one_alone(inbox: Inbox) -> None:
    inbox.connection("old", "1.old-token")
    inbox.connection("new", "1.new-token", NOW + 60)
    with store.writing() as c:
        connections.end(c, "old", at=NOW + 60, ended_as="superseded", by="sme", why="renewed by new")
    before = inbox.rows()
    assert effect(inbox.withdraw("1.old-token")) == "nothing"
    assert inbox.rows() == before


# what is refused


def message(**changes: Any) -> dict[str, Any]:
    return {**withdrawal(FRAMEWORK, WITHDRAWAL_SUBJECT, TOKEN), **changes}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in message().items() if key != name}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("body", "more", "status"),
    [
        pytest.param(message(), {"sender": "wrong_ca"}, 401, id="D12-forged"),
        pytest.param(message(), {"sender": "self_signed"}, 401, id="D12-self-signed"),
        pytest.param(message(), {"sender": "expired"}, 401, id="expired"),
        pytest.param(message(), {"sender": "revoked"}, 401, id="revoked"),
        pytest.param(message(), {"sender": "foreign"}, 403, id="D12-foreign"),
        pytest.param(message(), {"sender": "without-role"}, 403, id="D12-without-the-role"),
        pytest.param(
            message(subject="https://registry.example/message/other/2025-03-16"), {}, 400, id="D12-unknown-subject"
        ),
        pytest.param(message(subject=WITHDRAWAL_SUBJECT[:-1]), {}, 400, id="part-of-the-subject"),
        pytest.param(message(subject=[WITHDRAWAL_SUBJECT]), {}, 400, id="list-of-subjects"),
        pytest.param(without("subject"), {}, 400, id="no-subject"),
        pytest.param(without("ib1:message"), {}, 400, id="no-framework"),
        pytest.param(without("body"), {}, 400, id="no-body"),
        pytest.param(message(body=TOKEN), {}, 400, id="body-is-text"),
        pytest.param(message(body={"token": [TOKEN]}), {}, 400, id="token-is-a-list"),
        pytest.param(message(body={"token": ""}), {}, 400, id="empty-token"),
        pytest.param(message(body={"token": "x" * (MAX_TOKEN + 1)}), {}, 400, id="token-too-long"),
        pytest.param(message(body={"token": "tøken"}), {}, 400, id="token-not-ascii"),
        pytest.param(message(body={"token": f"{TOKEN}\r\n"}), {}, 400, id="token-with-a-line-break"),
        pytest.param([message()], {}, 400, id="a-list-of-messages"),
        pytest.param(b"", {}, 400, id="empty"),
        pytest.param(b"{", {}, 400, id="not-json"),
        pytest.param(b'{"subject": NaN}', {}, 400, id="nan"),
        pytest.param(b'{"subject": "\xff"}', {}, 400, id="not-utf-8"),
        pytest.param(b'{"subject": "\\ud800"}', {}, 400, id="lone-surrogate"),
        pytest.param(b"[" * 60_000, {}, 400, id="deeply-nested"),
        pytest.param(message(more="x" * views.LARGEST), {}, 413, id="D12-oversized"),
        pytest.param(message(), {"content_type": "text/plain"}, 415, id="not-called-json"),
        pytest.param(message(), {"content_type": "application/x-www-form-urlencoded"}, 415, id="a-form"),
        pytest.param(message(), {"headers": {"Content-Encoding": "gzip"}}, 415, id="compressed"),
    ],
)
def test_D12_a_refused_message_changes_nothing(
    inbox: Inbox, body: Any, more: dict[str, Any], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    inbox.connection()
    before = inbox.rows()
    answer = inbox.post(body, **more)
    assert answer.status_code == status, answer.text
    assert answer.json is not None
    assert set(answer.json) >= {"error", "error_description", "error_uri", "correlation_id"}
    assert inbox.rows() == before
    assert "token-canary" not in caplog.text + answer.text


def test_D12_a_body_without_a_length_is_cut_off(inbox: Inbox) -> None:
    inbox.connection()
    body = io.BytesIO(b" " * (8 * views.LARGEST))
    assert inbox.stream(body).status_code == 413
    assert body.tell() <= views.LARGEST + 1
    assert effect(inbox.stream(io.BytesIO(orjson.dumps(message())))) == "withdrawn"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_D12_the_role_is_judged_before_the_body_is_read(inbox: Inbox) -> None:
    body = io.BytesIO(b"{")
    answer = inbox.stream(body, "without-role")
    assert (answer.status_code, body.tell()) == (403, 0)
    assert answer.json is not None
    assert answer.json["error_uri"].endswith(RoleMissing.code)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_refused(inbox: Inbox, method: str) -> None:
    assert inbox.app.test_client().open("/messages", method=method).status_code == 405
