"""The Directory through its cache: what is believed, for how long, and what an outage changes."""

import dataclasses
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_server.outbound import directory as module
from consent_server.outbound import fields
from consent_server.outbound.cache import FOR_EVER, MemoryCache
from consent_server.outbound.directory import Directory
from consent_server.outbound.errors import BadAnswer, NotAllowed, Unreachable
from consent_server.scheme import instant

SCHEME = "https://registry.example/scheme/perseus"
EDP_ROLE = f"{SCHEME}/role/edp"
NOON = instant.parse("2026-03-12T12:00:00Z")


@pytest.fixture(autouse=True)
def nothing_logged_before():
    fields._warn.cache_clear()


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


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"logo": "https://a.example/1"}, "https://a.example/1"),
        (
            {"logo": "https://a.example/1", "brand": {"name": "Acme", "logo": "https://a.example/2"}},
            "https://a.example/2",
        ),
        ({"logo": "https://a.example/1", "brand": {"name": "Acme", "logo": ["x"]}}, "https://a.example/1"),
        ({"logo": "http://a.example/1"}, None),
        ({"logo": "data:image/svg+xml,<svg/>"}, None),
        ({}, None),
    ],
)
def test_the_address_of_a_logo_is_read_and_nobody_is_asked_for_it(settings, trust, directory, wire, given, expected):
    trust.routes["/m/abc"] = wire.json(member_at(settings, **given))
    assert directory.member(f"{settings.scheme.directory}/m/abc").logo == expected
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
    [{"id": "https://directory.example/m/other"}, {"id": None}, {"roles": [7]}, {"roles": {"a": 1}}, {"roles": 7}],
    ids=lambda changed: "-".join(changed),
)
def test_a_member_whose_id_or_roles_cannot_be_read_is_unusable(settings, trust, directory, wire, changed):
    trust.routes["/m/abc"] = wire.json(member_at(settings, **changed))
    with pytest.raises(BadAnswer) as refused:
        directory.member(f"{settings.scheme.directory}/m/abc")
    assert str(refused.value).startswith("directory.example: unreadable: ")


MEMBER_URL = "https://directory.example/m/abc"
MEMBER = {
    "id": MEMBER_URL,
    "legalName": "Acme Data Ltd",
    "brand": {"name": "Acme", "logo": "https://acme.example/logo.png"},
    "email": "a@acme.example",
    "logo": "https://acme.example/logo.png",
    "address": {"country": "GB", "postalCode": "SE1 1AA"},
    "companyRegistration": {"identifier": "1234567", "issuedBy": "https://registry.example/organization/ch"},
    "assuranceLevel": "https://registry.example/level/2",
    "roles": [EDP_ROLE],
    "privacyPolicy": "https://acme.example/privacy",
    "trustFrameworkMemberships": [{"membershipStatus": "Active", "membershipExpiry": "2026-03-13"}],
    "schemeMemberships": [
        {
            "scheme": SCHEME,
            "orgRoles": [EDP_ROLE, "https://elsewhere.example/role/edp"],
            "executions": [{"executed": "2025-03-12", "expiry": "2027-03-12", "agreement": "https://a.example"}],
        }
    ],
}


def read_member(**changed):
    return module._member(MEMBER_URL, json.dumps({**MEMBER, **changed}).encode())


@pytest.mark.parametrize(
    ("changed", "costs", "logged"),
    [
        ({"privacyPolicy": "http://acme.example/privacy"}, {"privacy_policy": None}, "privacyPolicy"),
        ({"privacyPolicy": "acme.example/privacy"}, {"privacy_policy": None}, "privacyPolicy"),
        ({"privacyPolicy": "javascript:alert(1)"}, {"privacy_policy": None}, "privacyPolicy"),
        ({"privacyPolicy": ["https://a.example", "https://b.example"]}, {"privacy_policy": None}, "privacyPolicy"),
        ({"legalName": None}, {"legal_name": "directory.example/m/abc"}, "legalName"),
        ({"legalName": "x" * 301}, {"legal_name": "directory.example/m/abc"}, "legalName"),
        ({"brand": {"name": 7}}, {"brand_name": None}, "name"),
        ({"brand": [7]}, {"brand_name": None}, "brand"),
        ({"brand": "Acme plc"}, {"brand_name": "Acme plc"}, None),
        pytest.param({"legalName": "Acme\ud800 Ltd"}, {"legal_name": "Acme Ltd"}, None, id="half a surrogate pair"),
        ({"logo": 7, "address": "GB", "companyRegistration": [], "email": None, "assuranceLevel": {}}, {}, None),
        ({"trustFrameworkMemberships": "x"}, {"membership_ok": False}, "trustFrameworkMemberships"),
        ({"trustFrameworkMemberships": ["x", *MEMBER["trustFrameworkMemberships"]]}, {}, "trustFrameworkMemberships"),
        (
            {"trustFrameworkMemberships": [{"membershipStatus": "Active", "membershipExpiry": "31 Feb"}]},
            {},
            "membershipExpiry",
        ),
        ({"trustFrameworkMemberships": [{"membershipStatus": ["Active"]}]}, {"membership_ok": False}, None),
        ({"schemeMemberships": 7}, {"agreements": ()}, "schemeMemberships"),
    ],
    ids=str,
)
def test_a_field_that_cannot_be_read_costs_that_field(held_clock, caplog, changed, costs, logged):
    assert read_member(**changed) == dataclasses.replace(read_member(), **costs)
    assert [logged in each.message for each in caplog.records] == ([True] if logged else [])


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just("https://a.example"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
#: Field of the document -> what of the entry it decides.
DECIDES = {
    "legalName": {"legal_name"},
    "brand": {"brand_name", "logo"},
    "logo": {"logo"},
    "privacyPolicy": {"privacy_policy"},
    "trustFrameworkMemberships": {"membership_ok"},
    "schemeMemberships": {"agreements"},
    **{name: set() for name in ("email", "address", "companyRegistration", "assuranceLevel")},
}


@given(st.sampled_from(sorted(DECIDES)), ANY_JSON)
def test_any_one_field_spoiled_leaves_the_others_as_they_were(name, value):
    sound, spoiled = dataclasses.asdict(read_member()), dataclasses.asdict(read_member(**{name: value}))
    assert {each for each in sound if sound[each] != spoiled[each]} <= DECIDES[name]


@pytest.mark.parametrize(
    ("changed", "until"),
    [
        ({}, "2027-03-12T00:00:00Z"),
        ({"executions": [{"expiry": "2026-09-04T10:00:00.000+01:00"}]}, "2026-09-04T09:00:00Z"),
        ({"executions": [{"expiry": "2026-09-04T09:00Z"}]}, "2026-09-04T09:00:00Z"),
        ({"executions": [{"expiry": "20260904"}]}, "2026-09-04T00:00:00Z"),
        ({"executions": [{"expiry": "2026-03-12T12:00:00Z"}, {"expiry": "2026-03-13"}]}, "2026-03-13T00:00:00Z"),
        ({"executions": [{}]}, None),
        ({"scheme": f"{SCHEME}/"}, "2027-03-12T00:00:00Z"),
        ({"executions": [{"executed": "not a date", "expiry": "2027-01-01"}]}, "2027-01-01T00:00:00Z"),
        ({"executions": []}, "lapsed"),
        ({"executions": None}, "lapsed"),
        ({"executions": [{"expiry": "2026-03-12T12:00:00Z"}]}, "lapsed"),
        ({"executions": [{"expiry": "4 September"}]}, "lapsed"),
        ({"executions": [{"expiry": False}]}, "lapsed"),
        ({"executions": [{"executed": "2026-03-13", "expiry": "2027-01-01"}]}, "lapsed"),
        ({"orgRoles": []}, "lapsed"),
        ({"orgRoles": [EDP_ROLE, 7]}, "lapsed"),
        ({"orgRoles": [f"{SCHEME}/role/cap"]}, "lapsed"),
        ({"scheme": "https://registry.example/scheme/other"}, "lapsed"),
        ({"scheme": None}, "lapsed"),
        ({"scheme": "https://registry.example/scheme/per"}, "lapsed"),
    ],
    ids=str,
)
def test_who_may_act_in_the_scheme_and_until_when(held_clock, changed, until):
    member = read_member(schemeMemberships=[{**MEMBER["schemeMemberships"][0], **changed}])
    covering = [each for each in member.agreements if each.covers([EDP_ROLE], NOON)]
    assert member.has_agreement([EDP_ROLE], NOON) == bool(covering) == (until != "lapsed")
    assert not member.has_agreement(["https://elsewhere.example/role/edp"], NOON)
    assert not member.has_agreement([], NOON)
    if covering:
        assert max(each.until for each in covering) == (instant.parse(until) if until else FOR_EVER)


SCHEMA = "http://schema.org/"
IB1 = "https://registry.core.trust.ib1.org/ns/1.0#"
IN_TURTLE = f"""@prefix schema: <{SCHEMA}> . @prefix ib1: <{IB1}> . @prefix dcterms: <http://purl.org/dc/terms/> .
<https://directory.example/m/abc> a schema:Organization ; schema:legalName "Acme Data Ltd" ; ib1:role <{EDP_ROLE}>, <r:2> ;
    ib1:privacyPolicy <https://acme.example/privacy> ; schema:address [ a schema:PostalAddress ] .
<https://directory.example/a/app> dcterms:publisher <https://directory.example/m/abc> ; dcterms:title "Reader"@en ;
    ib1:role <{EDP_ROLE}> ; ib1:messageDelivery <https://member.example/messages> ; ib1:homePageURL <http://no.example> .
"""
IN_JSON_LD = json.dumps(
    {
        "@context": {"schema": SCHEMA, "ib1": IB1, "dcterms": "http://purl.org/dc/terms/"},
        "@graph": [
            {
                "@id": "https://directory.example/m/abc",
                "schema:legalName": "Acme Data Ltd",
                "ib1:role": [{"@id": EDP_ROLE}, {"@id": "r:2"}],
                "ib1:privacyPolicy": {"@id": "https://acme.example/privacy"},
            },
            {
                "@id": "https://directory.example/a/app",
                "dcterms:publisher": {"@id": "https://directory.example/m/abc"},
                "dcterms:title": "Reader",
                "ib1:role": {"@id": EDP_ROLE},
                "ib1:messageDelivery": {"@id": "https://member.example/messages"},
                "ib1:homePageURL": {"@id": "http://no.example"},
            },
        ],
    }
)


@pytest.mark.parametrize("document", [IN_TURTLE, IN_JSON_LD], ids=["turtle", "json-ld"])
def test_entries_in_rdf(document):
    member = module._member("https://directory.example/m/abc", document.encode())
    assert (member.legal_name, sorted(member.roles)) == ("Acme Data Ltd", [EDP_ROLE, "r:2"])
    assert (member.privacy_policy, member.membership_ok) == ("https://acme.example/privacy", False)
    application = module._application("https://directory.example/a/app", document.encode())
    assert (application.member, application.title) == ("https://directory.example/m/abc", "Reader")
    assert (application.message_delivery, application.home_page) == ("https://member.example/messages", None)
    with pytest.raises(ValueError, match="does not describe"):
        module._member("https://directory.example/m/other", document.encode())


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


SERVICE = {
    "title": "Half hours",
    "publisher": "https://directory.example/m/abc",
    "conformsTo": "https://registry.example/standard/consumption",
    "endpointURL": "https://member.example/consumption",
    "oauthIssuer": "https://member.example",
}
LIVE = {"id": "https://directory.example/s/1", "application_id": "https://directory.example/a/app", **SERVICE}
SERVICE_IN_TURTLE = """@prefix dcat: <http://www.w3.org/ns/dcat#> . @prefix dcterms: <http://purl.org/dc/terms/> .
@prefix ib1: <https://registry.trust.ib1.org/ns/1.0#> .
<https://directory.example/s/1> a dcat:DataService ; dcterms:title "Half hours"@en ;
    dcterms:publisher <https://directory.example/m/abc> ; dcat:endpointURL <https://member.example/consumption> ;
    ib1:oauthIssuer <https://member.example> .
<https://directory.example/d/1> a dcat:Dataset ; dcterms:title "No service" .
"""


@pytest.mark.parametrize(
    ("body", "id", "application"),
    [
        ({"apis": [LIVE]}, LIVE["id"], LIVE["application_id"]),
        ({"apis": [SERVICE]}, SERVICE["endpointURL"], None),
        ({"apis": [SERVICE], "more": []}, SERVICE["endpointURL"], None),
        ({"count": 1, "services": [LIVE]}, LIVE["id"], LIVE["application_id"]),
        ([LIVE], LIVE["id"], LIVE["application_id"]),
        (SERVICE_IN_TURTLE, LIVE["id"], None),
        ({"apis": [{**LIVE, "publisher": "https://members.example/m/abc"}]}, LIVE["id"], LIVE["application_id"]),
        ({"apis": [{**LIVE, "id": 7, "application_id": "a/app"}]}, SERVICE["endpointURL"], None),
        ([7, {"@id": "x"}, LIVE], LIVE["id"], LIVE["application_id"]),
        ({"apis": [{"title": "\ud800"}, LIVE]}, LIVE["id"], LIVE["application_id"]),
        (
            {"apis": [7, {}, {**LIVE, "endpointURL": "http://x"}, {**LIVE, "publisher": None}, SERVICE]},
            SERVICE["endpointURL"],
            None,
        ),
    ],
    ids=[
        *("live", "specified", "specified-beside", "another-member", "a-list", "turtle", "alias", "spoiled"),
        *("a-list-with-others", "half-a-surrogate-pair-beside", "unusable"),
    ],
)
def test_the_catalogue_in_each_published_form(
    settings_of, trust, session_of, cache, wire, held_clock, body, id, application
):
    settings = settings_of(trust.port, scheme={"directory_aliases": ["https://members.example"]})
    text = body if isinstance(body, str) else json.dumps(body)
    ours = settings.scheme.directory
    body = text.replace("https://directory.example", ours).encode()
    trust.routes["/query/data-services"] = wire.answer(200, body)
    directory = Directory(settings, session_of(settings), cache)
    [service] = directory.data_services(settings.scheme.consumption_standard)
    at_ours = "https://directory.example"
    assert (service.id, service.application) == (
        id.replace(at_ours, ours),
        application and application.replace(at_ours, ours),
    )
    assert (service.title, service.member) == ("Half hours", f"{ours}/m/abc")
    assert (service.endpoint, service.issuer) == (SERVICE["endpointURL"], SERVICE["oauthIssuer"])
    assert trust.asked[-1].query == {"conformsTo": settings.scheme.consumption_standard}


@pytest.mark.parametrize("body", [{}, {"a": [], "b": []}, {"apis": {}}, 7, "no Turtle"])
def test_what_is_no_catalogue(settings, trust, directory, wire, body):
    trust.routes["/query/data-services"] = wire.json(body)
    with pytest.raises(BadAnswer):
        directory.data_services(settings.scheme.consumption_standard)


@given(st.sampled_from(["id", "application_id", "title", "oauthIssuer", "conformsTo"]), ANY_JSON)
def test_any_one_field_of_a_service_spoiled_leaves_the_others(name, value):
    decides = {"application_id": {"application"}, "oauthIssuer": {"issuer"}, "conformsTo": set()}.get(name, {name})
    sound = dataclasses.asdict(module._service(LIVE, (), ""))
    spoiled = dataclasses.asdict(module._service({**LIVE, name: value}, (), ""))
    assert {each for each in sound if sound[each] != spoiled[each]} <= decides


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

    @pytest.mark.parametrize(("etag", "sent"), [('"7"', '"7"'), ('"\xfc"', None)], ids=["ASCII", "other octets"])
    def test_an_etag_saves_the_body(self, settings, trust, directory, wire, held_clock, etag, sent):
        def answer(asked):
            if asked.headers.get("if-none-match") == etag:
                return wire.answer(304, headers={"Cache-Control": "max-age=10", "Content-Length": "0"})
            return wire.json(application_at(settings), etag=etag, cache_control="max-age=10")

        trust.routes["/a/app"] = answer
        for _ in range(3):
            assert self.ask(settings, directory) == "Reader"
            held_clock.step(10)
        assert [asked.headers.get("if-none-match") for asked in trust.asked] == [None, sent, sent]

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
    def test_a_kept_copy_does_not_outlive_404_and_410(self, settings, trust, directory, wire, held_clock, status):
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


def listed(settings, *hosts):
    return {
        "ib1:allowlist": "1.0",
        "allowlistFor": settings.scheme.trust_framework,
        "lastUpdated": "2026-01-01T00:00:00Z",
        "allowed": list(hosts),
    }


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

    @pytest.mark.parametrize("bad_day", ["another-version", "another-scheme", "gone", "broken", "no-list"])
    def test_the_last_good_list_holds_however_old_and_over_a_restart(
        self, settings, session_of, directory, cache, trust, wire, held_clock, bad_day
    ):
        assert directory.server_allowlist() == {"member.example"}
        evil = {**listed(settings, "evil.example"), "ib1:allowlist": "1.0"}
        trust.routes["/server-allowlist"] = {
            "another-version": wire.json({**evil, "ib1:allowlist": "2.0"}),
            "another-scheme": wire.json({**evil, "allowlistFor": "https://other.example/trust-framework"}),
            "gone": wire.answer(404),
            "broken": wire.answer(500),
            "no-list": wire.json({**evil, "allowed": "evil.example"}),
        }[bad_day]
        held_clock.step(300 * 86400)
        assert directory.server_allowlist() == {"member.example"}
        assert Directory(settings, session_of(settings), cache).server_allowlist() == {"member.example"}

    @pytest.mark.parametrize(
        "changed",
        [
            {"ib1:allowlist": "2.0"},
            {"ib1:allowlist": None},
            {"allowed": "member.example"},
            {"allowed": [7]},
            {"allowlistFor": None},
            {"allowlistFor": ""},
            {"allowlistFor": "https://registry.example/trust-framework"},
        ],
        ids=str,
    )
    def test_a_list_that_cannot_be_used(self, settings, session_of, trust, wire, changed):
        trust.routes["/server-allowlist"] = wire.json({**listed(settings, "evil.example"), **changed})
        with pytest.raises(Unreachable):
            Directory(settings, session_of(settings), MemoryCache()).server_allowlist()

    def test_its_address_is_a_setting_and_it_may_be_the_schemes(self, settings_of, session_of, trust, cache, wire):
        address = f"https://directory.example:{trust.port}/lists/7?for={quote('a b')}"
        standard = f"https://registry.example:{trust.port}/scheme/perseus/standard/consumption"
        settings = settings_of(trust.port, scheme={"server_allowlist": address, "consumption_standard": standard})
        trust.routes["/lists/7"] = wire.json({**listed(settings, "a.example"), "allowlistFor": settings.scheme.url})
        found = Directory(settings, session_of(settings), cache).allowlist()
        assert (found.hosts, found.subject) == ({"a.example"}, settings.scheme.url)
        assert found.updated == instant.parse("2026-01-01T00:00:00Z")
        assert (trust.asked[-1].path, trust.asked[-1].query) == ("/lists/7", {"for": "a b"})

    def test_case_wildcards_and_an_odd_date(self, settings, directory, trust, wire):
        document = {**listed(settings, "A.Example", "*.example"), "lastUpdated": "yesterday"}
        trust.routes["/server-allowlist"] = wire.json(document)
        found = directory.allowlist()
        assert (found.hosts, found.updated) == ({"a.example", "*.example"}, None)
