"""The Directory through its cache: what is believed, for how long, and what an outage changes."""

import pytest

from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.directory import Directory
from consent_server.outbound.errors import BadAnswer, NotAllowed, Unreachable


@pytest.fixture
def directory(settings, session_of, cache, held_clock):
    return Directory(settings, session_of(settings), cache)


def member_at(settings, **changed):
    return {
        "id": f"{settings.scheme.directory}/m/abc",
        "legalName": "Acme Data Ltd",
        "brand": {"name": "Acme"},
        "roles": ["https://registry.example/role/edp"],
        "privacyPolicy": "https://acme.example/privacy",
        "trustFrameworkMemberships": [{"membershipStatus": "Active", "membershipExpiry": "2026-03-13"}],
        **changed,
    }


def application_at(settings, **changed):
    return {
        "id": f"{settings.scheme.directory}/a/app",
        "publisher": f"{settings.scheme.directory}/m/abc",
        "title": "Reader",
        "role": ["https://registry.example/role/cap"],
        "homePageURL": "https://acme.example",
        "messageDelivery": "https://member.example/messages",
        **changed,
    }


def test_a_member(settings, trust, directory, wire, held_clock):
    trust.routes["/m/abc"] = wire.json(member_at(settings), cache_control="max-age=10")
    member = directory.member(f"{settings.scheme.directory}/m/abc")
    assert (member.name, member.legal_name, member.brand_name) == ("Acme", "Acme Data Ltd", "Acme")
    assert member.roles == ("https://registry.example/role/edp",)
    assert (member.privacy_policy, member.membership_ok) == ("https://acme.example/privacy", True)
    assert trust.asked[-1].query == {"include": "memberships"}
    held_clock.step(86400)
    assert directory.member(f"{settings.scheme.directory}/m/abc").membership_ok is False


def test_E09_a_logo_is_neither_kept_nor_fetched(settings, trust, directory, wire):
    logo = f"{settings.scheme.directory}/logo.svg"
    trust.routes["/m/abc"] = wire.json(member_at(settings, logo=logo, brand={"name": "Acme", "logo": logo}))
    assert "logo" not in repr(directory.member(f"{settings.scheme.directory}/m/abc"))
    assert {asked.path for asked in trust.asked} == {"/m/abc"}


@pytest.mark.parametrize(
    ("changed", "name", "ok"),
    [
        ({"brand": None}, "Acme Data Ltd", True),
        ({"brand": {"name": ""}}, "Acme Data Ltd", True),
        ({"brand": {"name": "A\u202ecme\x1b[31m\n <b>"}}, "Acme[31m <b>", True),
        ({"trustFrameworkMemberships": []}, "Acme", False),
        ({"trustFrameworkMemberships": [{"membershipStatus": "Suspended"}]}, "Acme", False),
        ({"trustFrameworkMemberships": [{"membershipStatus": "active"}]}, "Acme", True),
    ],
)
def test_names_and_memberships(settings, trust, directory, wire, changed, name, ok):
    trust.routes["/m/abc"] = wire.json(member_at(settings, **changed))
    member = directory.member(f"{settings.scheme.directory}/m/abc")
    assert (member.name, member.membership_ok) == (name, ok)


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "https://directory.example/m/other"},
        {"legalName": None},
        {"legalName": "x" * 301},
        {"brand": {"name": 7}},
        {"roles": [7]},
        {"roles": {"a": 1}},
        {"privacyPolicy": "javascript:alert(1)"},
        {"privacyPolicy": "https://a b"},
        {"trustFrameworkMemberships": ["x"]},
        {"trustFrameworkMemberships": [{"membershipStatus": "Active", "membershipExpiry": "31 Feb"}]},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_a_member_that_cannot_be_read(settings, trust, directory, wire, changed):
    trust.routes["/m/abc"] = wire.json(member_at(settings, **changed))
    with pytest.raises(BadAnswer) as refused:
        directory.member(f"{settings.scheme.directory}/m/abc")
    assert str(refused.value).startswith("directory.example: unreadable: ")


@pytest.mark.parametrize("body", [b"", b"[]", b"<rdf/>", b'{"id":', b"\xff" * 9, b"{}"])
def test_a_body_that_is_no_entry(settings, trust, directory, wire, body):
    trust.routes["/m/abc"] = wire.answer(200, body)
    with pytest.raises(BadAnswer):
        directory.member(f"{settings.scheme.directory}/m/abc")


@pytest.mark.parametrize(
    "tail",
    ["https://other.example/m/abc", "{}evil/m/abc", "{}", "{}/m/abc?x=1", "{}/m/../a", "{}/m/%2e%2e/a", "{}/m\\abc"],
)
def test_identifiers_of_another_place_are_never_looked_up(settings, trust, directory, tail):
    for look_up in (directory.member, directory.application):
        with pytest.raises(NotAllowed):
            look_up(tail.format(settings.scheme.directory))
    assert trust.asked == []


def test_an_application(settings, trust, directory, wire):
    trust.routes["/a/app"] = wire.json(application_at(settings))
    found = directory.application(f"{settings.scheme.directory}/a/app")
    assert found.member == f"{settings.scheme.directory}/m/abc"
    assert (found.title, found.roles) == ("Reader", ("https://registry.example/role/cap",))
    assert found.message_delivery == "https://member.example/messages"


def test_the_catalogue_leaves_out_what_is_unusable(settings, trust, directory, wire):
    good = {
        "id": "https://directory.example/s/1",
        "application_id": "https://directory.example/a/app",
        "publisher": "https://directory.example/m/abc",
        "title": "Half hours",
        "conformsTo": settings.scheme.consumption_standard,
        "endpointURL": "https://member.example/consumption",
        "oauthIssuer": "https://member.example",
    }
    trust.routes["/query/data-services"] = wire.json({"apis": [good, {**good, "endpointURL": "http://x"}, {}]})
    [service] = directory.data_services(settings.scheme.consumption_standard)
    assert (service.id, service.endpoint, service.issuer) == (good["id"], good["endpointURL"], good["oauthIssuer"])
    assert (service.application, service.member) == (good["application_id"], good["publisher"])
    assert trust.asked[-1].query == {"conformsTo": settings.scheme.consumption_standard}


class TestCaching:
    def ask(self, settings, directory):
        return directory.application(f"{settings.scheme.directory}/a/app").title

    @pytest.mark.parametrize(
        ("headers", "fresh_s"),
        [
            ({"cache_control": "max-age=100"}, 100),
            ({"cache_control": "public, max-age=100, must-revalidate", "age": "40"}, 60),
            ({"cache_control": "no-cache, max-age=100"}, 0),
            ({"cache_control": "s-max-age=999"}, 60),
            ({}, 60),
            ({"cache_control": "max-age=999999999"}, 86400),
        ],
    )
    def test_a_copy_is_fresh_for_as_long_as_its_headers_say(
        self, settings, trust, directory, wire, held_clock, headers, fresh_s
    ):
        trust.routes["/a/app"] = wire.json(application_at(settings), **headers)
        self.ask(settings, directory)
        for after, calls in [(fresh_s - 1, 1), (1, 2)] if fresh_s else [(0, 2)]:
            held_clock.step(after)
            self.ask(settings, directory)
            assert len(trust.asked) == calls

    def test_an_etag_saves_the_body(self, settings, trust, directory, wire, held_clock):
        def answer(asked):
            if asked.headers.get("if-none-match") == '"7"':
                return wire.answer(304, headers={"Cache-Control": "max-age=10", "Content-Length": "0"})
            return wire.json(application_at(settings), etag='"7"', cache_control="max-age=10")

        trust.routes["/a/app"] = answer
        for _ in range(3):
            assert self.ask(settings, directory) == "Reader"
            held_clock.step(10)
        assert [asked.headers.get("if-none-match") for asked in trust.asked] == [None, '"7"', '"7"']

    def test_an_outage_is_bridged_for_a_week_and_not_asked_at_every_call(
        self, settings, trust, directory, wire, held_clock
    ):
        trust.routes["/a/app"] = wire.json(application_at(settings), cache_control="max-age=10")
        self.ask(settings, directory)
        trust.routes["/a/app"] = wire.answer(503)
        held_clock.step(7 * 86400 - 60)
        for _ in range(5):
            assert self.ask(settings, directory) == "Reader"
        assert len(trust.asked) == 2
        held_clock.step(61)
        with pytest.raises(BadAnswer):
            self.ask(settings, directory)

    @pytest.mark.parametrize("status", [404, 410])
    def test_what_is_gone_is_gone(self, settings, trust, directory, wire, held_clock, status):
        trust.routes["/a/app"] = wire.json(application_at(settings), cache_control="max-age=10")
        self.ask(settings, directory)
        trust.routes["/a/app"] = wire.answer(status)
        held_clock.step(11)
        with pytest.raises(BadAnswer):
            self.ask(settings, directory)

    def test_a_bad_body_never_replaces_a_good_copy(self, settings, trust, directory, wire, held_clock):
        trust.routes["/a/app"] = wire.json(application_at(settings), cache_control="max-age=10")
        self.ask(settings, directory)
        trust.routes["/a/app"] = wire.json({"id": "nonsense"})
        held_clock.step(11)
        assert self.ask(settings, directory) == "Reader"

    def test_a_fresh_look_up_asks_and_does_not_fall_back(self, settings, trust, directory, wire):
        url = f"{settings.scheme.directory}/a/app"
        trust.routes["/a/app"] = wire.json(application_at(settings), cache_control="max-age=1000")
        directory.application(url)
        trust.routes["/a/app"] = wire.json(application_at(settings, messageDelivery="https://member.example/new"))
        assert directory.application(url, fresh=True).message_delivery == "https://member.example/new"
        trust.routes["/a/app"] = wire.answer(503)
        with pytest.raises(BadAnswer):
            directory.application(url, fresh=True)

    def test_a_clock_stepped_back_does_not_keep_a_copy_fresh(self, settings, trust, directory, wire, held_clock):
        trust.routes["/a/app"] = wire.json(application_at(settings), cache_control="max-age=1000")
        self.ask(settings, directory)
        held_clock.step(-400 * 86400)
        self.ask(settings, directory)
        assert len(trust.asked) == 2


class TestAllowlist:
    def test_the_directory_opens_the_session_to_the_hosts_it_lists(
        self, settings, session_of, trust, serve, wire, cache
    ):
        session = session_of(settings)
        directory = Directory(settings, session, cache)
        server = serve()
        server.routes["/"] = wire.json(1)
        assert session.get(server.url("/")).status == 200
        assert directory.server_allowlist() == {"member.example"}
        with pytest.raises(NotAllowed):
            session.get(server.url("/", "localhost"))
        assert [asked.path for asked in trust.asked] == ["/server-allowlist"]

    def test_never_fetched_means_nobody(self, settings, session_of, trust, serve, cache, wire):
        session = session_of(settings)
        Directory(settings, session, cache)
        trust.routes["/server-allowlist"] = wire.answer(500)
        server = serve()
        with pytest.raises(Unreachable):
            session.get(server.url("/"))
        assert server.asked == []

    def test_the_last_good_list_holds_however_old(self, settings, directory, trust, wire, held_clock):
        assert directory.server_allowlist() == {"member.example"}
        trust.routes["/server-allowlist"] = wire.json({"allowed": ["evil.example"]})
        held_clock.step(300 * 86400)
        assert directory.server_allowlist() == {"member.example"}

    @pytest.mark.parametrize(
        "document",
        [{}, {"ib1:allowlist": "2.0", "allowed": []}, {"ib1:allowlist": "1.0", "allowed": "member.example"}, []],
    )
    def test_a_list_that_cannot_be_read(self, settings, session_of, trust, wire, document):
        trust.routes["/server-allowlist"] = wire.json(document)
        with pytest.raises(Unreachable):
            Directory(settings, session_of(settings), MemoryCache()).server_allowlist()

    def test_case_and_wildcards(self, directory, trust, wire):
        trust.routes["/server-allowlist"] = wire.json({"ib1:allowlist": "1.0", "allowed": ["A.Example", "*.example"]})
        assert directory.server_allowlist() == {"a.example", "*.example"}
