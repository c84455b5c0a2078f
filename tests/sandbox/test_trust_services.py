"""The service at the first port, asked as the parties and outside programs ask it."""

import json

import pytest
import sqlalchemy as sa
from cryptography import x509
from flask import Flask

from consent_server import clock, store
from consent_server.sandbox import (
    databases,
    intensity,
    membership,
    parties,
    revocation,
    scenarios,
    smes,
    trust_services,
)
from consent_server.sandbox.client_scenarios import report
from consent_server.sandbox.client_scenarios.table import SCENARIOS
from consent_server.sandbox.layout import LICENSES, Layout
from consent_server.scheme import instant, licenses, rdf
from consent_server.scheme.regions import REGIONS
from consent_server.scheme.registry_document import from_rdf
from consent_server.store import database, meters, outbox
from consent_server.store.schema import migrate

LAYOUT_PORT = 8440
BASE = f"https://localhost:{LAYOUT_PORT}"


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    made = Layout(tmp_path_factory.mktemp("sandbox"), LAYOUT_PORT)
    parties.prepare(made)
    for party in ("edp", "cap"):
        app = Flask(party)
        database.init(app, f"sqlite:///{made.database(party)}")
        with app.app_context():
            migrate()
            if party == "edp":
                with store.writing() as c:
                    meters.add(c, *smes.register_rows())
    return made


@pytest.fixture
def doors():
    """The numbers of the revocation lists that the doors have been asked about; they have every list at once."""
    return []


@pytest.fixture
def program(layout, doors, monkeypatch):
    monkeypatch.setattr(revocation, "doors_have", lambda _, number: doors.append(number) or True)
    app = trust_services.create_app(layout.directory, LAYOUT_PORT)
    yield app.test_client()
    clock.write_offset(layout.clock, 0)
    clock.step_by(int)


def fetch(client, url, **kwargs):
    assert url.startswith(BASE)
    return client.get(url.removeprefix(BASE), base_url=BASE, **kwargs)


def ask(client, path, document):
    return client.post(path, base_url=BASE, json=document)


# Registry and Directory


@pytest.mark.parametrize("name", LICENSES)
def test_a_license_leads_to_the_text_whose_digest_it_names(program, layout, name):
    answer = fetch(program, layout.license(name), headers={"Accept": "application/ld+json"})
    assert answer.mimetype == "application/ld+json"
    published = from_rdf(answer.data, layout.license(name))
    text = fetch(program, published.text_url)
    assert text.mimetype == "text/plain"
    assert licenses.digest(text.data) == published.text_sha256


def test_every_identifier_is_a_url_that_answers(program, layout):
    manifest = json.loads(layout.manifest.read_text(encoding="utf-8"))
    urls = {manifest["trust"]["crl"], layout.trust_framework, layout.consumption_standard, layout.emissions_standard}
    for client in manifest["clients"].values():
        urls |= {client["client_id"], client["member"], *client["roles"]}
    settings = parties.settings_for(layout, "cap")
    urls.add(settings["scheme"]["withdrawal_subjects"][1])
    urls |= {layout.data_service("edp"), layout.data_service("cap"), f"{layout.member('edp')}/privacy"}
    assert [url for url in urls if fetch(program, url).status_code != 200] == []


def test_documents_may_be_kept_and_are_not_sent_twice(program, layout):
    first = fetch(program, layout.member("cap"))
    assert first.headers["Cache-Control"] == "public, max-age=2"
    again = fetch(program, layout.member("cap"), headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_members_tell_their_memberships_when_asked(program, layout):
    plain = fetch(program, layout.member("edp")).json
    whole = fetch(program, f"{layout.member('edp')}?include=memberships").json
    assert "trustFrameworkMemberships" not in plain
    assert whole["trustFrameworkMemberships"][0]["membershipStatus"] == "Active"
    assert whole["brand"]["name"] == "Hartlebury Meters"
    [scheme] = whole["schemeMemberships"]
    assert (scheme["scheme"], scheme["orgRoles"]) == (layout.scheme, whole["roles"])
    assert scheme["executions"][0]["expiry"] > "2099"
    assert "brand" not in fetch(program, layout.member("fsp2")).json


def test_an_application_tells_where_its_messages_go_as_json_and_as_linked_data(program, layout):
    url = layout.application("cap_portal")
    plain = fetch(program, url).json
    linked = fetch(program, url, headers={"Accept": "application/ld+json"})
    assert plain["messageDelivery"] == f"{layout.origin('cap_mutual_tls')}/messages"
    assert linked.mimetype == "application/ld+json"
    assert linked.json["ib1:messageDelivery"]["@id"] == plain["messageDelivery"]
    assert "messageDelivery" not in fetch(program, layout.application("edp_service")).json


@pytest.mark.parametrize("accept", ["application/ld+json", "text/turtle", "text/turtle, application/json;q=0.5"])
@pytest.mark.parametrize("path", ["member", "application", "service", "services", "members"])
def test_the_directory_answers_in_rdf_what_its_json_says(program, layout, accept, path):
    url = {
        "member": f"{layout.member('edp')}?include=memberships",
        "application": layout.application("cap_portal"),
        "service": layout.data_service("edp"),
        "services": f"{layout.directory_url}/query/data-catalog/api",
        "members": f"{layout.directory_url}/query/members-with-role",
    }[path]
    plain = fetch(program, url)
    linked = fetch(program, url, headers={"Accept": accept})
    assert (plain.mimetype, linked.mimetype) == ("application/json", accept.partition(",")[0])
    assert "Accept" in linked.headers["Vary"]
    found = rdf.read(linked.data, url)
    entries = [plain.json] if "id" in plain.json else next(iter(plain.json.values()))
    terms = {"http://schema.org/legalName": "legalName", "http://www.w3.org/ns/dcat#endpointURL": "endpointURL"}
    for entry in entries:
        properties = found[entry["id"]]
        said = {terms[iri]: values[0] for iri, values in properties.items() if iri in terms}
        assert said.items() <= entry.items()
        roles_of = entry.get("roles", entry.get("role", []))
        assert sorted(rdf.values(properties, *rdf.ib1("role"))) == sorted(roles_of)


@pytest.mark.parametrize("name", LICENSES)
def test_a_license_is_the_same_in_turtle(program, layout, name):
    url = layout.license(name)
    answers = [fetch(program, url, headers={"Accept": accept}) for accept in ("text/turtle", "application/ld+json")]
    assert [each.mimetype for each in answers] == ["text/turtle", "application/ld+json"]
    in_turtle, in_json_ld = (from_rdf(each.data, url) for each in answers)
    assert in_turtle == in_json_ld


def test_the_catalogue_finds_the_issuers(program, layout):
    found = fetch(
        program, f"{layout.directory_url}/query/data-services", query_string={"conformsTo": layout.consumption_standard}
    ).json["apis"]
    assert [(each["oauthIssuer"], each["endpointURL"]) for each in found] == [
        (layout.issuer("edp"), layout.resource("edp"))
    ]
    everything = fetch(program, f"{layout.directory_url}/query/data-catalog/api").json["apis"]
    assert len(everything) == 2


@pytest.mark.parametrize(("path", "key"), [("organizations", "organizations"), ("members-with-role", "members")])
def test_members_are_found_by_role(program, layout, path, key):
    role = layout.role("financial-service-provider")
    found = fetch(program, f"{layout.directory_url}/query/{path}", query_string={"role": role}).json[key]
    assert layout.member("fsp") in [each["id"] for each in found]
    assert layout.member("edp") not in [each["id"] for each in found]


def test_the_allowlist_names_this_host_alone(program, layout):
    assert fetch(program, f"{layout.directory_url}/server-allowlist").json["allowed"] == ["localhost"]


@pytest.mark.parametrize("path", ["/registry/nothing", "/directory/m/nobody", "/directory/a/nothing", "/nothing"])
def test_what_is_not_there_is_404_in_json(program, path):
    answer = program.get(path, base_url=BASE)
    assert answer.status_code == 404
    assert answer.json["error_description"]


def test_another_sites_host_name_is_refused(program):
    assert program.get("/sandbox/mail", base_url="https://elsewhere.example").status_code == 400


# Grid intensity

DAY = "2026-01-15T00:00Z"


def intensity_of(client, first, last, place):
    return client.get(f"/intensity/regional/intensity/{first}/{last}/{place}", base_url=BASE)


def test_the_first_slot_ends_where_the_window_begins(program):
    data = intensity_of(program, DAY, "2026-01-16T00:00Z", "postcode/S3").json["data"]
    assert (data["regionid"], data["shortname"], data["postcode"]) == (5, "Yorkshire", "S3")
    slots = data["data"]
    assert slots[0]["to"] == DAY
    assert slots[-1]["to"] == "2026-01-16T00:00Z"
    assert len(slots) == 49
    assert all(1 <= slot["intensity"]["forecast"] < 700 for slot in slots)


def test_a_half_hour_has_one_value_whatever_the_window_and_the_way_of_asking(program):
    by_postcode = intensity_of(program, DAY, "2026-01-16T00:00Z", "postcode/S3").json["data"]["data"]
    by_region = intensity_of(program, "2026-01-15T06:00Z", "2026-01-20T00:00Z", "regionid/5").json["data"]["data"]
    values = {slot["from"]: slot["intensity"]["forecast"] for slot in by_postcode}
    shared = [slot for slot in by_region if slot["from"] in values]
    assert len(shared) == 37
    assert all(values[slot["from"]] == slot["intensity"]["forecast"] for slot in shared)


@pytest.mark.parametrize(
    ("first", "last", "place", "says"),
    [
        pytest.param(DAY, "2026-01-29T00:00Z", "regionid/5", "14 days", id="14-days"),
        pytest.param(DAY, DAY, "regionid/5", "after", id="empty-window"),
        pytest.param("2026-01-15", "2026-01-16", "regionid/5", "ISO8601", id="no-times"),
        pytest.param(DAY, "2026-01-16T00:00Z", "postcode/W2", "No postcode match", id="known-fault"),
        pytest.param(DAY, "2026-01-16T00:00Z", "postcode/BT1", "No postcode match", id="northern-ireland"),
        pytest.param(DAY, "2026-01-16T00:00Z", "postcode/ZZ9", "No postcode match", id="no-such-area"),
        pytest.param(DAY, "2026-01-16T00:00Z", "postcode/s3", "No postcode match", id="lower-case"),
        pytest.param(DAY, "2026-01-16T00:00Z", "regionid/18", "region ID", id="no-such-region"),
    ],
)
def test_faults_have_the_apis_shape(program, first, last, place, says):
    answer = intensity_of(program, first, last, place)
    assert answer.status_code == 400
    assert answer.json["error"]["code"] == "400 Bad Request"
    assert says in answer.json["error"]["message"]


def test_thirteen_days_are_answered_and_one_postcode_has_the_wrong_id_beside_the_right_name(program):
    data = intensity_of(program, DAY, "2026-01-28T00:00Z", "postcode/BN3").json["data"]
    assert (data["regionid"], data["shortname"]) == (13, "South East England")
    assert len(data["data"]) == 13 * 48 + 1


def test_regions_are_those_of_the_scheme_and_every_site_has_one():
    assert dict(REGIONS).items() <= {region: name for region, (_, name, _) in intensity.REGIONS.items()}.items()
    assert all(intensity.region_of(site.outcode) for sme in smes.SMES for site in sme.sites)


# Mail and messages


def test_mail_is_taken_as_json_and_shown(program):
    letter = {"to": "a@b.example", "from": "cap@b.example", "subject": "Your code", "text": "123456"}
    assert ask(program, "/sandbox/mail", letter).status_code == 201
    assert ask(program, "/sandbox/mail", letter | {"to": "c@d.example"}).status_code == 201
    (shown,) = program.get("/sandbox/mail?to=a@b.example", base_url=BASE).json["mail"]
    assert shown | letter == shown
    assert instant.parse(shown["at"])
    assert ask(program, "/sandbox/mail", {"to": "a@b.example"}).status_code == 422


def test_messages_to_applications_without_a_service_leave_no_token_behind(program, layout):
    message = {"ib1:message": "x", "subject": "y", "body": {"token": "1.secret.token"}}
    url = layout.message_delivery("cap2").removeprefix(BASE)
    assert ask(program, url, message).status_code == 202
    assert ask(program, "/sandbox/messages/edp", message).status_code == 404
    shown = program.get("/sandbox/messages", base_url=BASE)
    assert shown.json["messages"][-1]["application"] == "cap2"
    assert "secret" not in shown.text


# Control


def test_the_clock_is_stepped_for_everybody_at_once(program):
    before = clock.now()
    answer = ask(program, "/sandbox/clock", {"offset_s": 86400})
    assert (answer.status_code, answer.json["offset_s"]) == (200, 86400)
    assert before + 86400 <= clock.now() <= before + 86410
    assert program.get("/sandbox", base_url=BASE).json["clock"]["offset_s"] == 86400


@pytest.mark.parametrize("offset", [None, "1", 1.5, True, 401 * 86400], ids=repr)
def test_a_bad_step_is_refused(program, offset):
    assert ask(program, "/sandbox/clock", {"offset_s": offset}).status_code == 422


def test_a_scenario_reaches_the_meters(program, layout):
    assert ask(program, "/sandbox/scenario", {"sme": "normal", "scenario": "gaps"}).json["meters"] == 2
    assert scenarios.current(layout)["normal"] == "gaps"
    with databases.connected(layout, "edp") as c:
        assert {scenarios.of_meter(layout.scenarios, row.id) for row in meters.of_sme(c, "normal", clock.now())} == {
            "gaps"
        }


def test_under_unknown_the_register_finds_no_meter_until_it_is_taken_back(program, layout):
    def postcodes():
        with databases.connected(layout, "edp") as c:
            return {row.postcode for row in meters.of_sme(c, "several_sites", clock.now())}

    own = {site.postcode for site in smes.BY_NAME["several_sites"].sites}
    ask(program, "/sandbox/scenario", {"sme": "several_sites", "scenario": "unknown"})
    assert not postcodes() & own
    ask(program, "/sandbox/scenario", {"sme": "several_sites", "scenario": "several_sites"})
    assert postcodes() == own


@pytest.mark.parametrize(
    "document",
    [
        {"sme": "nobody", "scenario": "gaps"},
        {"sme": "normal", "scenario": "nothing"},
        {"sme": "normal", "scenario": "gas_only"},
        {"sme": "unknown", "scenario": "normal"},
        {"sme": ["normal"], "scenario": "gaps"},
        {},
    ],
    ids=str,
)
def test_a_scenario_that_cannot_be_is_refused(program, document):
    answer = ask(program, "/sandbox/scenario", document)
    assert answer.status_code == 422
    assert answer.json["error_description"]


def revoked_serials(client, layout):
    answer = fetch(client, layout.revocation_list_url)
    assert answer.mimetype == "application/pkix-crl"
    return {entry.serial_number for entry in x509.load_der_x509_crl(answer.data)}


def serial(layout, name):
    return x509.load_pem_x509_certificate(layout.certificate(name, "certificate").read_bytes()).serial_number


def test_the_list_holds_the_revoked_client_from_the_start_and_follows_what_is_asked(program, layout, doors):
    assert revoked_serials(program, layout) == {serial(layout, "revoked")}
    answer = ask(program, "/sandbox/crl", {"revoke": "cap2"})
    assert answer.json == {"number": 2, "revoked": ["cap2", "revoked"]}
    assert revoked_serials(program, layout) == {serial(layout, "revoked"), serial(layout, "cap2")}
    assert ask(program, "/sandbox/crl", {"revoke": "cap2"}).json["number"] == 2
    assert ask(program, "/sandbox/crl", {"restore": "cap2"}).json["number"] == 3
    assert revoked_serials(program, layout) == {serial(layout, "revoked")}
    assert doors == [2, 2, 3]


@pytest.mark.parametrize(
    "document",
    [
        {"revoke": "nobody"},
        {"revoke": "self_signed"},
        {"restore": "wrong_ca"},
        {"revoke": 1},
        {"revoke": "cap", "restore": "cap"},
        {},
    ],
    ids=str,
)
def test_what_cannot_be_revoked_is_refused(program, document):
    assert ask(program, "/sandbox/crl", document).status_code == 422


def test_a_list_that_the_doors_do_not_take_up_is_not_called_done(layout, monkeypatch):
    monkeypatch.setattr(revocation, "EFFECTIVE_WITHIN", 0.1)
    monkeypatch.setattr(revocation, "doors_have", lambda *_: False)
    app = trust_services.create_app(layout.directory, LAYOUT_PORT)
    try:
        assert ask(app.test_client(), "/sandbox/crl", {"restore": "fsp2"}).status_code == 503
    finally:
        clock.step_by(int)


def test_doors_that_do_not_answer_do_not_have_the_list(tmp_path):
    nobody_listens = Layout(tmp_path, 1)
    parties.prepare(nobody_listens)
    assert not revocation.doors_have(nobody_listens, 1)


def test_the_outbox_shows_what_was_sent_and_what_waits(program, layout):
    with databases.connected(layout, "edp") as c:
        outbox.add(c, kind="message", subject="p1", recipient="https://localhost/a/1", at=clock.now())
        outbox.add(c, kind="message", subject="p2", recipient="https://localhost/a/2", at=clock.now())
        (first,) = outbox.lease(c, "https://localhost/a/1", clock.now(), 60, 1)
        outbox.delivered(c, [first], clock.now())
    shown = program.get("/sandbox/outbox", base_url=BASE).json
    assert [each["permission"] for each in shown["sent"]] == ["p1"]
    assert [(each["permission"], each["from"]) for each in shown["waiting"]] == [("p2", "edp")]
    with databases.connected(layout, "edp") as c:
        c.execute(sa.text("DELETE FROM outbox"))


def test_health_says_ready_when_the_sandbox_does(program, layout):
    assert program.get("/sandbox/health", base_url=BASE).status_code == 503
    layout.ready.touch()
    try:
        assert program.get("/sandbox/health", base_url=BASE).status_code == 200
    finally:
        layout.ready.unlink()
    assert program.get("/health", base_url=BASE).status_code == 200
    assert program.get("/ready", base_url=BASE).status_code == 200


def test_the_page_is_for_people_and_describes_every_scenario(program):
    page = program.get("/sandbox", base_url=BASE, headers={"Accept": "text/html"})
    assert page.mimetype == "text/html"
    assert page.text.count("<h1>") == 1
    for name in (*smes.SCENARIOS, *smes.BY_NAME):
        assert f"<code>{name}</code>" in page.text
    assert program.get("/sandbox/static/sandbox.css", base_url=BASE).status_code == 200


def test_a_form_is_believed_from_our_own_page_alone(program, layout):
    form = {"days": "2"}
    ours = program.post("/sandbox/clock", base_url=BASE, data=form, headers={"Origin": BASE})
    assert (ours.status_code, ours.headers["Location"]) == (303, layout.control)
    assert program.get("/sandbox", base_url=BASE).json["clock"]["offset_s"] == 2 * 86400
    for headers in ({}, {"Origin": "https://elsewhere.example"}):
        theirs = program.post("/sandbox/clock", base_url=BASE, data={"days": "3"}, headers=headers)
        assert theirs.status_code == 415
    assert program.get("/sandbox", base_url=BASE).json["clock"]["offset_s"] == 2 * 86400


# Members and applications in the Directory


@pytest.fixture
def at_once(monkeypatch, layout):
    monkeypatch.setattr(membership, "_SETTLED_AFTER_S", 0)
    yield
    layout.memberships.unlink(missing_ok=True)


def test_a_member_is_suspended_and_reinstated(program, layout, at_once):
    def status():
        document = fetch(program, f"{layout.member('cap2')}?include=memberships").json
        return document["trustFrameworkMemberships"][0]["membershipStatus"]

    assert ask(program, "/sandbox/membership", {"member": "cap2", "status": "suspended"}).status_code == 200
    assert status() == "Suspended"
    assert fetch(program, f"{BASE}/sandbox", headers={"Accept": "application/json"}).json["suspended"] == ["cap2"]
    ask(program, "/sandbox/membership", {"member": "cap2", "status": "active"})
    assert status() == "Active"


def test_an_application_is_withdrawn_and_listed_again(program, layout, at_once):
    ask(program, "/sandbox/membership", {"application": "edp_service", "status": "withdrawn"})
    assert fetch(program, layout.application("edp_service")).status_code == 404
    services = fetch(program, f"{layout.directory_url}/query/data-services").json["apis"]
    assert [each["application_id"] for each in services] == [layout.application("cap_portal")]
    ask(program, "/sandbox/membership", {"application": "edp_service", "status": "active"})
    assert fetch(program, layout.application("edp_service")).status_code == 200


@pytest.mark.parametrize(
    "asked",
    [
        {"member": "nobody", "status": "active"},
        {"member": "cap2", "status": "withdrawn"},
        {"application": "cap2", "status": "suspended"},
        {"member": "cap2", "application": "cap2", "status": "active"},
        {"member": ["cap2"], "status": "active"},
        {"member": "cap2"},
        {"status": "active"},
    ],
    ids=["unknown", "of-an-application", "of-a-member", "both", "type", "no-status", "no-name"],
)
def test_no_other_membership_is_set(program, layout, at_once, asked):
    assert ask(program, "/sandbox/membership", asked).status_code == 422
    assert not layout.memberships.exists()


def test_the_page_suspends_by_its_own_forms(program, layout, at_once):
    page = program.get("/sandbox", base_url=BASE, headers={"Accept": "text/html"}).get_data(as_text=True)
    assert "Suspend cap2" in page
    assert "Withdraw application cap2" in page
    form = {"member": "cap2", "status": "suspended"}
    answer = program.post("/sandbox/membership", base_url=BASE, data=form, headers={"Origin": BASE})
    assert answer.status_code == 303
    assert membership.suspended(layout) == {"cap2"}


# What clients meet on purpose


def test_a_client_is_made_to_meet_what_is_chosen_by_a_program_and_on_the_page(program, layout):
    assert ask(program, "/sandbox/scenario", {"client": "cap", "scenario": "token_expired"}).status_code == 200
    shown = fetch(program, f"{layout.control}/clients").json
    assert (shown["chosen"], shown["header"]) == ({"cap": "token_expired"}, "X-Sandbox-Scenario")
    assert shown["scenarios"]["token_expired"]["at"] == ["/datasources", "/datasources/…", "/emissions"]
    form = {"client": "cap", "scenario": "normal"}
    origin = {"Origin": layout.origin("trust")}
    answer = program.post("/sandbox/scenario", base_url=BASE, data=form, headers=origin)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{layout.control}/clients")
    assert fetch(program, f"{layout.control}/clients").json["chosen"] == {}


def test_the_page_shows_what_was_met_and_what_the_software_should_do(program, layout):
    report.keep(layout, "cap", report.Seen(clock.now(), "/token", 400, "r", "c", "code_refused"))
    page = fetch(program, f"{layout.control}/clients", headers={"Accept": "text/html"}).text
    assert page.count('<tr id="') == len(SCENARIOS)
    assert '<strong class="wait">not known yet</strong>: a minute is not over' in page
    [met] = fetch(program, f"{layout.control}/clients").json["met"]
    assert (met["client"], met["scenario"], met["met"]) == ("cap", "code_refused", 1)


@pytest.mark.parametrize(
    "asked",
    [
        {"client": "nobody", "scenario": "token_expired"},
        {"client": "cap", "scenario": "nothing"},
        {"client": "cap", "scenario": ["token_expired"]},
        {"client": "cap", "sme": "normal", "scenario": "normal"},
        {"client": ["cap"], "scenario": "normal"},
        {"client": "cap"},
    ],
)
def test_what_no_client_can_meet_is_refused(program, asked):
    assert ask(program, "/sandbox/scenario", asked).status_code == 422
