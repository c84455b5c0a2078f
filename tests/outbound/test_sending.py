"""Messages to applications."""

import pytest

from consent_server.outbound.deliver import address_of, deliver
from consent_server.outbound.directory import Directory
from consent_server.outbound.errors import BadAnswer, NotAllowed, Unreachable
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
    directory = Directory(settings, session, cache)

    def send(application, message):
        deliver(session, address_of(directory, application), message)

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
