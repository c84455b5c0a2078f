"""Messages to applications and mail to people."""

import contextlib
import functools
import socketserver
import threading
import time

import pytest

from consent_server.outbound import mail
from consent_server.outbound.deliver import deliver
from consent_server.outbound.directory import Directory
from consent_server.outbound.errors import BadAnswer, NotAllowed, Unreachable
from consent_server.outbound.mail import Mail
from consent_server.outbound.timestamps import TimestampAuthority

MESSAGE = {"ib1:message": "https://registry.example/trust-framework", "body": {"token": "canary"}}


@pytest.fixture
def recipient(settings, session_of, trust, serve, wire, cache):
    """(application URL, its server, send); the Directory says that it takes messages at /messages."""
    session = session_of(settings)
    server = serve(ask_client=True)
    server.routes["/messages"] = wire.answer(202)

    def deliver_to(address):
        trust.routes["/a/app"] = wire.json(
            {
                "id": f"{settings.scheme.directory}/a/app",
                "publisher": f"{settings.scheme.directory}/m/abc",
                "title": "Reader",
                "role": [],
                "messageDelivery": address,
            },
            cache_control="max-age=1000",
        )

    deliver_to(server.url("/messages"))
    send = functools.partial(deliver, Directory(settings, session, cache), session)
    return f"{settings.scheme.directory}/a/app", server, send, deliver_to


class TestDelivery:
    def test_to_where_the_directory_says_now(self, recipient, wire):
        application, server, send, deliver_to = recipient
        server.routes["/new"] = wire.answer(200)
        send(application, MESSAGE)
        deliver_to(server.url("/new"))
        send(application, MESSAGE)
        assert [asked.path for asked in server.asked] == ["/messages", "/new"]
        assert server.asked[0].headers["content-type"] == "application/json"
        assert server.asked[0].certificate is not None
        assert b"canary" in server.asked[0].body

    @pytest.mark.parametrize("status", [301, 307, 400, 403, 410, 429, 500])
    def test_an_answer_other_than_2xx(self, recipient, wire, status):
        application, server, send, _ = recipient
        server.routes["/messages"] = wire.answer(status, b"canary", {"Location": "/elsewhere"})
        with pytest.raises(BadAnswer) as refused:
            send(application, MESSAGE)
        assert refused.value.status == status
        assert "canary" not in str(refused.value)
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        "address",
        [
            "https://evil.example/messages",
            "https://localhost/messages",
            "https://127.0.0.1/messages",
            "https://[::ffff:169.254.169.254]/messages",
            "https://2130706433/messages",
            "https://member.example@evil.example/messages",
        ],
    )
    def test_an_address_that_we_may_not_call(self, recipient, address):
        application, server, send, deliver_to = recipient
        deliver_to(address)
        with pytest.raises(NotAllowed):
            send(application, MESSAGE)
        assert server.asked == []

    @pytest.mark.parametrize("address", [None, "", "http://member.example/messages"])
    def test_no_usable_address(self, recipient, address):
        application, server, send, deliver_to = recipient
        deliver_to(address)
        with pytest.raises(BadAnswer):
            send(application, MESSAGE)
        assert server.asked == []


class TestMail:
    def test_as_json(self, settings_of, session_of, trust, wire):
        trust.routes["/sandbox/mail"] = wire.answer(201)
        source = trust.url("/sandbox/mail", wire.directory)
        settings = settings_of(trust.port, mail={"source": source, "sender": "cap@cap.example"})
        Mail(settings, session_of(settings)).send("sme@sme.example", "Your code", "123456")
        assert trust.asked[0].body == (
            b'{"to":"sme@sme.example","from":"cap@cap.example","subject":"Your code","text":"123456"}'
        )
        trust.routes["/sandbox/mail"] = wire.answer(500)
        with pytest.raises(Unreachable):
            Mail(settings, session_of(settings)).send("sme@sme.example", "Your code", "123456")

    def test_by_smtp(self, settings_of, session_of, trust):
        said: list[bytes] = []

        class Relay(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 relay\r\n")
                in_text = False
                for line in self.rfile:
                    said.append(line)
                    if in_text:
                        in_text = line != b".\r\n"
                        if in_text:
                            continue
                    elif line.upper().startswith(b"DATA"):
                        in_text = True
                        self.wfile.write(b"354 go on\r\n")
                        continue
                    self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            source = f"smtp://127.0.0.1:{server.server_address[1]}"
            settings = settings_of(trust.port, mail={"source": source, "sender": "cap@cap.example"})
            Mail(settings, session_of(settings)).send("sme@sme.example", "Your code", "123456")
            server.shutdown()
        text = b"".join(said)
        assert b"To: sme@sme.example" in text
        assert b"123456" in text

    @pytest.mark.parametrize("after", [0, 1, 2, 3], ids=["in the greeting", "after EHLO", "after MAIL", "after RCPT"])
    def test_a_relay_that_drips_ends_at_the_total_time(self, settings_of, session_of, trust, monkeypatch, after):
        monkeypatch.setattr(mail, "_TOTAL_S", 0.5)
        ended = threading.Event()

        class Relay(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                answers = [b"220 relay\r\n", *[b"250 ok\r\n"] * 3][:after]
                for answer in answers:
                    self.wfile.write(answer)
                    self.rfile.readline()
                with contextlib.suppress(OSError):
                    for _ in range(300):
                        self.wfile.write(b"250-x\r\n")
                        time.sleep(0.1)
                    ended.set()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        with Server(("127.0.0.1", 0), Relay) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            source = f"smtp://127.0.0.1:{server.server_address[1]}"
            settings = settings_of(trust.port, mail={"source": source, "sender": "cap@cap.example"})
            with pytest.raises(Unreachable) as failed:
                Mail(settings, session_of(settings)).send("sme@sme.example", "Your code", "123456")
            assert not ended.is_set(), "half a minute"
            server.shutdown()
        assert failed.value.kind == "time"

    @pytest.mark.parametrize("to", ["a@b.example\r\nBcc: all@b.example", "a@b.example\nX: y"])
    def test_an_address_with_a_line_end(self, settings_of, session_of, trust, to):
        settings = settings_of(trust.port, mail={"source": "smtp://127.0.0.1:1", "sender": "cap@cap.example"})
        with pytest.raises(ValueError, match=r"linefeed|newline"):
            Mail(settings, session_of(settings)).send(to, "Your code", "123456")

    def test_no_relay(self, settings_of, session_of, trust):
        settings = settings_of(trust.port, mail={"source": "smtp://127.0.0.1:1", "sender": "cap@cap.example"})
        with pytest.raises(Unreachable) as failed:
            Mail(settings, session_of(settings)).send("a@b.example", "Your code", "123456")
        assert str(failed.value) == "127.0.0.1: connection"


class TestTimestamps:
    def test_an_authority_for_time(self, authority, settings_of, session_of, trust, wire):
        collection = {
            "timestamp_authority": trust.url("/time", wire.directory),
            "timestamp_roots": authority.server_root,
        }
        settings = settings_of(trust.port, collection=collection)
        time = TimestampAuthority(settings, session_of(settings))
        trust.routes["/time"] = wire.answer(200, b"response")
        assert time.respond(b"request") == b"response"
        (asked,) = trust.asked
        kinds = asked.headers["content-type"], asked.headers["accept"]
        assert (asked.method, asked.body, *kinds, asked.certificate) == (
            *("POST", b"request", "application/timestamp-query", "application/timestamp-reply"),
            None,
        )
        for answer in (wire.answer(503), wire.answer(200, b""), wire.answer(200, bytes(100_000)), wire.answer(307)):
            trust.routes["/time"] = answer
            with pytest.raises(Unreachable):
                time.respond(b"request")
