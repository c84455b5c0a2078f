"""The inbox for withdrawal messages: what is refused changes nothing, and what is said twice has one effect."""

import base64
import io
import json
import logging
import ssl
from typing import Any

import orjson
import pytest
from flask import current_app
from werkzeug.test import TestResponse

from consent_server import store
from consent_server.caller.identify import Callers
from consent_server.caller.message import LARGEST
from consent_server.caller.trust import RoleMissing
from consent_server.deployment import Deployment
from consent_server.sandbox.authority import Authority
from consent_server.scheme import roles
from consent_server.scheme.messages import MAX_TOKEN, WITHDRAWAL_SUBJECT, withdrawal
from consent_server.scheme.permission import Act
from consent_server.store import collecting, connections, outbox, permissions
from consent_server.store.rows import table_of
from consent_server.store.tables.audit import KeptEvent
from consent_server.store.tables.collecting import CollectedWindow, MeterMonth, ProviderConnection
from consent_server.store.tables.owed import OwedCall
from consent_server.store.tables.permissions import Permission
from tests.deployments import layout
from tests.withdrawal.conftest import CLIENT, FAR, NOW, connection, linked, permission

FRAMEWORK = "https://registry.example/trust-framework"
TOKEN = "1.token-canary.of+the/connection="
JSON = "application/json"
#: Sender -> its name in the sandbox, whose certificate it has. `edp` is the member that granted what the tests withdraw.
SENDERS = {
    "edp": "edp",
    "edp-other-server": "edp_service",
    "foreign": "edp2",
    "revoked": "revoked",
    "wrong_ca": "wrong_ca",
    "self_signed": "self_signed",
    "expired": "expired",
}


#: Sender -> the code of the refusal that it meets.
REFUSED = {
    "wrong_ca": "certificate_untrusted",
    "self_signed": "certificate_untrusted",
    "expired": "certificate_out_of_date",
    "revoked": "certificate_revoked",
    "foreign": "message_not_yours",
    "without-role": "role_missing",
}


@pytest.fixture(scope="session")
def certificates() -> dict[str, str]:
    """The Client-Cert header (RFC 9440) of each sender."""
    made = layout()
    found = {name: made.certificate(client, "certificate").read_bytes() for name, client in SENDERS.items()}
    authority = Authority(made.authority)
    without = authority.client("edp-without-role", made.application("edp"), made.member("edp"), [made.role(roles.CAP)])
    ders = {name: ssl.PEM_cert_to_DER_cert(pem.decode()) for name, pem in found.items()} | {"without-role": without.der}
    return {name: f":{base64.b64encode(der).decode()}:" for name, der in ders.items()}


class Inbox:
    """The door as issuers see it, and what its CAP holds."""

    def __init__(self, deployment: Deployment, certificates: dict[str, str]) -> None:
        self.deployment, self.certificates = deployment, certificates
        self.app = current_app._get_current_object()  # type: ignore[attr-defined]
        deployment.revocations.refresh()
        deployment.callers = Callers(deployment.settings, deployment.revocations, None)

    def post(self, body: Any, sender: str = "edp", **more: Any) -> TestResponse:
        data = body if isinstance(body, bytes) or hasattr(body, "read") else orjson.dumps(body)
        more = {"content_type": JSON, **more}
        return self.app.test_client().post("/messages", data=data, environ_overrides=self.environ(sender), **more)

    def environ(self, sender: str) -> dict[str, Any]:
        return {"HTTP_CLIENT_CERT": self.certificates[sender]}

    def stream(self, body: Any, sender: str = "edp") -> TestResponse:
        """POST a body that does not say how long it is, as a chunked one arrives."""
        chunked = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
        environ = {**self.environ(sender), **chunked}
        return self.app.test_client().post("/messages", content_type=JSON, environ_overrides=environ)

    def withdraw(self, token: str = TOKEN, sender: str = "edp") -> TestResponse:
        return self.post(withdrawal(FRAMEWORK, WITHDRAWAL_SUBJECT, token), sender)

    def connection(self, name: str = "c", token: str = TOKEN, granted: int = NOW, expires: int = FAR) -> str:
        times = {"granted": granted, "expires": expires, "collect_due": granted}
        return connection(self.deployment, name, token, member=layout().member("edp"), **times)

    def rows(self) -> dict[str, list[Any]]:
        """Everything that a refused message must leave as it was."""
        kinds = (ProviderConnection, Permission, MeterMonth, CollectedWindow, OwedCall, KeptEvent)
        with store.reading() as c:
            return {
                table_of(kind).name: c.execute(table_of(kind).select().order_by(*table_of(kind).primary_key)).all()
                for kind in kinds
            }

    def ended(self, name: str = "c") -> tuple[str | None, str | None]:
        with store.reading() as c:
            row = connections.find(c, name)
        assert row is not None
        return row.ended_as, row.ended_by


@pytest.fixture
def inbox(deployment: Deployment, certificates: dict[str, str], caplog: pytest.LogCaptureFixture) -> Inbox:
    caplog.set_level(logging.DEBUG, "consent_server")
    return Inbox(deployment, certificates)


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
    assert rows["meter_month"] == []
    assert rows["outbox"] == [], "who told us is not told back"
    assert [row.event for row in rows["audit_event"]] == ["connection_ended", "message_accepted"]
    accepted = next(json.loads(r.message) for r in caplog.records if '"message_accepted"' in r.message)
    assert (accepted["sender"], accepted["subject"], accepted["effect"]) == (
        layout().application("edp"),
        "c",
        "withdrawn",
    )
    assert "token-canary" not in caplog.text


def test_what_rested_on_it_falls_and_its_client_is_told(inbox: Inbox) -> None:
    inbox.connection()
    permission("p")
    linked("c", "p")
    inbox.withdraw()
    with store.reading() as c:
        assert permissions.find(c, "p").ended_as == "withdrawn"
        assert [(row.kind, row.subject, row.recipient) for row in outbox.waiting(c)] == [("message", "p", CLIENT)]


def test_word_of_a_withdrawal_that_comes_after_the_end_still_deletes_the_data(inbox: Inbox) -> None:
    inbox.connection(granted=NOW - 100, expires=NOW)
    assert effect(inbox.withdraw()) == "withdrawn"
    assert inbox.rows()["meter_month"] == []


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
        assert list(collecting.months_of(c, "new", "meter")) == [0]


def test_D14_a_late_message_about_a_superseded_connection_leaves_the_new_one_alone(inbox: Inbox) -> None:
    inbox.connection("old", "1.old-token")
    inbox.connection("new", "1.new-token", NOW + 60)
    with store.writing() as c:
        connections.end(c, connections.find(c, "old"), Act.SUPERSEDE, at=NOW + 60, by="sme", why="renewed by new")
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
        pytest.param(message(more="x" * LARGEST), {}, 413, id="D12-oversized"),
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
    if "sender" in more:
        assert answer.json["error_uri"].rpartition("/")[2] == REFUSED[more["sender"]]
    assert inbox.rows() == before
    assert "token-canary" not in caplog.text + answer.text


def test_D12_a_body_without_a_length_is_cut_off(inbox: Inbox) -> None:
    inbox.connection()
    body = io.BytesIO(b" " * (8 * LARGEST))
    assert inbox.stream(body).status_code == 413
    assert body.tell() <= LARGEST + 1
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
