"""Mail to people, by a relay of SMTP (aiosmtpd's, or one that says what a test wants) and as JSON."""

import contextlib
import email
import email.policy
import socketserver
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from consent_server import clock
from consent_server.outbound import mail
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.mail import Mail, MailNotTaken
from consent_server.settings import BadSettings, load
from tests.deployments import layout
from tests.outbound.conftest import server_context

PASSWORD = "correct horse"
SENDER = "Example Carbon <cap@cap.example>"


class Relay(Controller):
    """A relay with TLS and our password, which keeps what it takes. `replies` has its reply to RCPT or DATA, by address."""

    def __init__(self, context: Any, *, at_once: bool, **how: Any) -> None:
        self.taken: list[tuple[list[str], EmailMessage]] = []
        self.replies: dict[str, str] = {}
        self.tries: list[bytes] = []
        tls = {"ssl_context": context} if at_once else {"tls_context": context, "require_starttls": context is not None}
        at = how.pop("at", "127.0.0.1")
        super().__init__(self, at, 0, authenticator=self.authenticate, ready_timeout=60, **{**tls, **how})

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self.tries.append(data.password)
        return AuthResult(success=(data.login, data.password) == (b"cap", PASSWORD.encode()), handled=False)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        envelope.rcpt_tos.append(address)
        return self.replies.get(f"RCPT {address}", "250 ok")

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        reply = self.replies.get(f"DATA {envelope.rcpt_tos[0]}", "250 ok")
        if reply.startswith("2"):
            parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
            self.taken.append((envelope.rcpt_tos, parsed))  # type: ignore[arg-type]
        return reply

    def _trigger_server(self) -> None:
        """Take note of the port before aiosmtpd's own connects to it: 0 was asked for."""
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        super()._trigger_server()


@pytest.fixture
def relay(authority: Any) -> Iterator[Callable[..., Relay]]:
    """relay(at_once=False, tls=True, …) starts one that ends with the test."""
    running: list[Relay] = []
    folder = authority.directory / "server" / "member.example"
    context = server_context(next(folder.glob("chain*.pem")), next(folder.glob("*key*.pem")))

    def start(*, at_once: bool = False, tls: bool = True, **how: Any) -> Relay:
        made = Relay(context if tls else None, at_once=at_once, auth_require_tls=tls and not at_once, **how)
        made.start()
        running.append(made)
        return made

    yield start
    for each in running:
        each.stop()


@pytest.fixture
def mail_at(settings_of: Any, session_of: Any, trust: Any, authority: Any, tmp_path: Any) -> Callable[..., Mail]:
    """mail_at(port, scheme="smtp", **section) of settings that trust the relay's certificate and have its password."""

    def make(port: int, scheme: str = "smtp", host: str = "localhost", **section: Any) -> Mail:
        secret = tmp_path / "password"
        secret.touch(mode=0o600)
        secret.write_text(f"{PASSWORD}\n")
        ours = {"user": "cap", "password_file": secret, "roots": authority.server_root}
        section = {"source": f"{scheme}://{host}:{port}", "sender": SENDER, **ours, **section}
        settings = settings_of(trust.port, mail=section)
        return Mail(settings, session_of(settings))

    return make


PLAIN: dict[str, Any] = {"user": "", "password_file": None, "unencrypted": True}


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_O7_by_smtp_with_tls_and_a_password(relay: Any, mail_at: Any, scheme: str) -> None:
    there = relay(at_once=scheme == "smtps")
    ours = mail_at(there.port, scheme)
    ours.reach()
    ours.send("sme@bücher.example", "Ihr Code für Łódź", "123456\n.\n\nGrüße\n")
    ((to, taken),) = there.taken
    assert (to, taken["To"]) == (["sme@xn--bcher-kva.example"], "sme@xn--bcher-kva.example")
    assert (taken["From"], taken["Subject"]) == (SENDER, "Ihr Code für Łódź")
    assert taken.get_content().replace("\r\n", "\n") == "123456\n.\n\nGrüße\n"
    assert taken["Auto-Submitted"] == "auto-generated"
    assert abs(parsedate_to_datetime(taken["Date"]).timestamp() - clock.now()) < 60
    assert taken["Message-ID"].endswith("@cap.example>")
    # RFC 5322 2.1.1: 78 characters on the wire. Who reads it has each paragraph and each link whole, as wide as the screen.
    text = f"{'Rydych wedi rhoi caniatâd. ' * 30}\n\nhttps://cap.example/receipt/{'a' * 64}\n"
    ours.send("sme@sme.example", "Again", text)
    again = there.taken[1][1]
    assert again["Message-ID"] != taken["Message-ID"]
    assert max(map(len, again.get_payload().splitlines())) <= 78
    assert again.get_content().replace("\r\n", "\n") == text


#: (relay, settings, kind): nothing is sent, and no password is told, where the relay is not the one that we trust.
REFUSED = {
    "STARTTLS stripped": ({"tls": False}, {}, "not offered"),
    "a certificate of another root": ({}, {"roots": None}, "tls"),
    "a certificate of another host": ({"at": "127.0.0.2"}, {"host": "127.0.0.2"}, "tls"),
    "the same with TLS at once": (
        {"at_once": True, "at": "127.0.0.2"},
        {"scheme": "smtps", "host": "127.0.0.2"},
        "tls",
    ),
    "TLS at once where there is none": ({"tls": False}, {"scheme": "smtps"}, "tls"),
    "no authentication there": ({"auth_exclude_mechanism": ["LOGIN", "PLAIN"]}, {}, "not offered"),
    "the password is not there": ({}, {"password_file": "/nowhere"}, "password"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_O7_a_relay_that_is_not_as_it_must_be(relay: Any, mail_at: Any, row: str) -> None:
    how, section, kind = REFUSED[row]
    there = relay(**how)
    with pytest.raises(Unreachable) as failed:
        mail_at(there.port, **section).send("sme@sme.example", "Your code", "123456")
    assert (failed.value.kind, there.taken, there.tries) == (kind, [], [])
    assert not isinstance(failed.value, MailNotTaken)


def test_O7_a_wrong_password_is_in_no_message(relay: Any, mail_at: Any, tmp_path: Any, caplog: Any) -> None:
    caplog.set_level(0)
    there, secret = relay(), tmp_path / "wrong"
    secret.touch(mode=0o600)
    secret.write_text("canary")
    with pytest.raises(Unreachable) as failed:
        mail_at(there.port, password_file=secret).reach()
    assert failed.value.kind == "authentication 535"
    assert "canary" not in f"{failed.value!r} {caplog.text}"


@pytest.mark.parametrize(
    ("command", "reply", "kind"),
    [
        ("RCPT", "450 try later", "refused 450"),
        ("RCPT", "550 unknown", "refused 550"),
        ("DATA", "451 busy", "refused 451"),
        ("DATA", "554 looks bad", "refused 554"),
    ],
)
def test_one_mail_is_refused_and_the_next_is_taken(
    relay: Any, mail_at: Any, command: str, reply: str, kind: str
) -> None:
    there = relay()
    there.replies[f"{command} sme@sme.example"] = reply
    ours = mail_at(there.port)
    with pytest.raises(MailNotTaken) as refused:
        ours.send("sme@sme.example", "Your code", "123456")
    assert refused.value.kind == kind
    ours.send("other@sme.example", "Your code", "123456")
    assert [to for to, _ in there.taken] == [["other@sme.example"]]


class Scripted(socketserver.ThreadingTCPServer):
    """A relay without TLS that has these replies to its commands, and to those after them what `last` does with the socket."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, replies: list[bytes], last: Callable[[Any], None]) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    for reply in replies:
                        self.wfile.write(reply)
                        while reply.startswith(b"354") and self.rfile.readline() != b".\r\n":
                            pass
                        if not reply.startswith(b"354"):
                            self.rfile.readline()
                    last(self.wfile)

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


#: The replies to nothing, EHLO, MAIL, RCPT, DATA and the text.
CONVERSATION = [b"220 relay\r\n", *[b"250 ok\r\n"] * 3, b"354 go on\r\n", b"250 taken\r\n"]


@pytest.mark.parametrize("after", range(5), ids=["in the greeting", "after EHLO", "MAIL", "RCPT", "the text"])
def test_a_relay_that_drips_ends_at_the_total_time(mail_at: Any, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    monkeypatch.setattr(mail, "_TOTAL_S", 0.8)
    cut_off, given_back = threading.Event(), threading.Event()

    def drips(wire: Any) -> None:
        try:
            while not given_back.wait(0.05):
                wire.write(b"250-x\r\n")
        except OSError:
            cut_off.set()

    script = [*CONVERSATION[:4], b"354 go on\r\n"] if after == 4 else CONVERSATION[:after]
    with Scripted(script, drips) as there:
        with pytest.raises(Unreachable) as failed:
            mail_at(there.server_address[1], **PLAIN).send("sme@sme.example", "Your code", "123456")
        assert cut_off.wait(60)
        given_back.set()
        there.shutdown()
    assert failed.value.kind == "time"
    assert isinstance(failed.value, MailNotTaken) == (after > 1), "the relay's fault, or one message's"


@pytest.mark.parametrize(
    ("replies", "fault"),
    [
        (CONVERSATION[:5], MailNotTaken),  # closed at the text: one message that a filter does not like
        (CONVERSATION[:1], Unreachable),
        ([b"421 too busy\r\n"], Unreachable),
        ([*CONVERSATION[:2], b"550 not from you\r\n"], Unreachable),  # MAIL: as it would be for every mail
        (CONVERSATION, None),  # closed at QUIT
        ([*CONVERSATION, b"421 too busy\r\n"], None),
    ],
)
def test_where_a_relay_fails_says_whose_fault_it_is(
    mail_at: Any, replies: list[bytes], fault: type[Unreachable] | None
) -> None:
    with Scripted(replies, lambda wire: None) as there:
        ours = mail_at(there.server_address[1], **PLAIN)
        if fault is None:  # the mail was taken: it must not be sent again
            ours.send("sme@sme.example", "Your code", "123456")
        else:
            with pytest.raises(Unreachable) as failed:
                ours.send("sme@sme.example", "Your code", "123456")
            assert type(failed.value) is fault
        there.shutdown()


@pytest.mark.parametrize(
    "to", ["a@b.example\r\nBcc: all@b.example", "a@b.example\nX: y", "a@b.example, c@d.example", "a"]
)
def test_what_is_no_address_makes_no_header_and_no_further_recipient(mail_at: Any, to: str) -> None:
    with pytest.raises(ValueError, match=r"email|@"):
        mail_at(1).send(to, "Your code", "123456")


@pytest.mark.parametrize("subject", ["x\r\nBcc: all@b.example", "x\ny", "x\ry"])
def test_a_subject_with_a_line_end(mail_at: Any, subject: str) -> None:
    with pytest.raises(ValueError, match=r"linefeed|newline"):
        mail_at(1).send("a@b.example", subject, "123456")


def test_no_relay(mail_at: Any) -> None:
    with pytest.raises(Unreachable) as failed:
        mail_at(1).send("a@b.example", "Your code", "123456")
    assert str(failed.value) == "localhost: connection"


@pytest.mark.parametrize(("status", "fault"), [(201, None), (500, MailNotTaken)])
def test_a_mail_is_posted_as_json(
    settings_of: Any, session_of: Any, trust: Any, wire: Any, status: int, fault: Any
) -> None:
    trust.routes["/sandbox/mail"] = wire.answer(status)
    source = trust.url("/sandbox/mail", wire.directory)
    settings = settings_of(trust.port, mail={"source": source, "sender": "cap@cap.example"})
    with pytest.raises(fault) if fault else contextlib.nullcontext():
        Mail(settings, session_of(settings)).send("sme@sme.example", "Your code", "123456")
    assert trust.asked[0].body == (
        b'{"to":"sme@sme.example","from":"cap@cap.example","subject":"Your code","text":"123456"}'
    )


SPOILED_SETTINGS = {
    "a password without a user": {"password": PASSWORD},
    "a user without a password": {"user": "cap"},
    "two passwords": {"user": "cap", "password": PASSWORD, "password_file": "x"},
    "a password without TLS": {"user": "cap", "password": PASSWORD, "unencrypted": "true"},
    "TLS at once and never": {"source": "smtps://relay.example", "unencrypted": "true"},
    "a password in the URL": {"source": "smtp://cap:correct@relay.example"},
    "no port": {"source": "smtp://relay.example:submission"},
    "another scheme": {"source": "lmtp://relay.example"},
    "two senders": {"sender": "a@b.example, c@d.example"},
    "a sender with a header": {"sender": "a@b.example\r\nBcc: all@b.example"},
    "no sender": {"sender": ""},
}


@pytest.mark.parametrize("row", SPOILED_SETTINGS)
def test_settings_that_are_refused(row: str) -> None:
    values = {"source": "smtp://relay.example:587", "sender": "cap@cap.example", **SPOILED_SETTINGS[row]}
    with pytest.raises(BadSettings) as refused:
        load(layout().settings("cap"), {f"mail.{name}": value for name, value in values.items()})
    assert "mail" in str(refused.value)
    assert PASSWORD not in str(refused.value)
