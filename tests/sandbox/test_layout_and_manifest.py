"""What the sandbox writes down before it starts: layout, businesses, manifest, certificates, settings."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from consent_server import settings
from consent_server.pki import member_certificate
from consent_server.sandbox import manifest, parties, registry, smes
from consent_server.sandbox.intensity import region_of
from consent_server.sandbox.layout import APPLICATIONS, CLIENTS, LICENSES, MEMBERS, Layout
from consent_server.scheme import instant, licenses, meters, permission_text, roles
from consent_server.scheme.registry_document import from_rdf
from consent_server.settings.section import path_keys

AT = 1_773_307_800  # 2026-03-12T09:30:00Z


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("sandbox"), 8440)
    parties.prepare(layout, overrides={"edp.metadata.authorization_alias": "false"})
    return layout


def test_ports_follow_the_contract():
    layout = Layout(Path("/sandbox"), 9000)
    services = [f"{party}_{door}" for party in ("edp", "cap", "fsp") for door in ("public", "mutual_tls")]
    assert [layout.origin(service) for service in services] == [f"https://localhost:{9000 + n}" for n in range(1, 7)]
    assert layout.control == "https://localhost:9000/sandbox"
    assert layout.license("emissions") == (
        "https://localhost:9000/registry/scheme/perseus/license/emissions-cap-fsp/2026-03-12"
    )


def test_ids_are_unique_and_every_application_has_a_member():
    ids = [*(entry.id for entry in MEMBERS.values()), *(entry.id for entry in APPLICATIONS.values())]
    assert len(set(ids)) == len(ids)
    for entry in APPLICATIONS.values():
        assert set(entry.roles) <= set(MEMBERS[entry.member].roles)


def test_the_manifest_names_only_files_that_are_there(prepared):
    written = json.loads(prepared.manifest.read_text(encoding="utf-8"))
    files = [written["trust"][name] for name in ("server_ca", "client_ca", "signing_ca")]
    files += [client[file] for client in written["clients"].values() for file in ("certificate", "key", "chain")]
    assert all(Path(file).is_absolute() and Path(file).is_file() for file in files)


def test_the_manifest_has_the_contracts_form():
    built = manifest.build(Layout(Path("/sandbox"), 8440), AT)
    assert set(built) == {
        "version", "trust", "licenses", "issuers", "resources", "pages", "doors", "readings", "clients", "smes", "control",
    }  # fmt: skip
    assert {name: client["meets"] for name, client in built["clients"].items()} == {
        "cap": None, "cap2": None, "fsp": None, "fsp2": None, "edp": None, "edp2": None, "cap_fsp": None,
        "expired": "tls", "revoked": 401, "no_role": 403, "self_signed": "tls", "wrong_ca": "tls", "two_uris": 401,
    }  # fmt: skip
    for sme in built["smes"]:
        assert set(sme) == {"name", "scenario", "about", "fuels", "ends", "journey", "connect", "withdraw"}
        walks = [walk for flow in ("journey", "connect", "withdraw") for walk in sme[flow].values()]
        assert all(set(step) == {"path", "fill", "check", "click"} for walk in walks for step in walk)


def test_readings_span_at_least_thirteen_whole_months_and_end_in_the_past():
    for month in range(24):
        at = instant.months_later(AT, month)
        readings = manifest.build(Layout(Path("/sandbox"), 8440), at)["readings"]
        first, last = (instant.parse(readings[key]) for key in ("from", "to"))
        assert first % instant.DAY == last % instant.DAY == 0
        assert last <= at
        whole = first if first == instant.month_start(first) else instant.next_month(first)
        assert instant.months_later(whole, 13) <= last


@pytest.mark.parametrize("sme", smes.SMES, ids=lambda sme: sme.name)
def test_an_sme_types_what_the_parsers_take(sme):
    typed = sme.identification()
    assert meters.parse_postcode(typed["postcode"]).outcode == sme.sites[0].outcode
    for site in sme.sites:
        for meter in site.meters:
            if meter.fuel == "electricity":
                assert meters.parse_mpan(meter.number).check_digit_ok
            else:
                assert meters.parse_mprn(meter.number).check_digit_ok
    assert sme.scenario in smes.SCENARIOS
    assert sme.code.isdigit()
    assert len(sme.code) == 6


def test_no_two_smes_share_a_name_code_or_meter():
    for values in (
        [sme.name for sme in smes.SMES],
        [sme.email for sme in smes.SMES],
        [sme.code for sme in smes.SMES],
        [meter.number for sme in smes.SMES for meter in sme.meters],
        [row.id for row in smes.register_rows()],
    ):
        assert len(set(values)) == len(values)
    regions = {region_of(site.outcode) for sme in smes.SMES for site in sme.sites}
    assert len(regions) >= 6
    assert "unknown" not in {row.sme for row in smes.register_rows()}


@pytest.mark.parametrize("party", parties.PARTIES)
def test_the_parties_settings_are_accepted(prepared, party):
    read = settings.load(prepared.settings(party))
    assert read.issuer == prepared.issuer(party)
    assert read.metadata.authorization_alias is (party != "edp")
    by_role = {
        role: {license_.url for license_ in read.scheme.licenses if roles.asks_for[license_.label] == role}
        for role in (roles.CAP, roles.FSP)
    }
    names = {
        "edp": ("electricity_and_gas", "one_permission", "electricity"),
        "cap": ("one_permission",),  # for the bank that it names; what it asks EDPs for is its portal's license
        "fsp": (),
    }
    asked = read.collection.license
    assert (asked.url if asked else None) == (prepared.license("electricity_and_gas") if party == "cap" else None)
    assert by_role[roles.CAP] == {prepared.license(name) for name in names[party]}
    assert by_role[roles.FSP] == ({prepared.license("emissions")} if party != "edp" else set())
    for keys in path_keys(settings.Settings):
        path: Any = functools.reduce(getattr, keys, read)
        made_later = keys[-1] == "withdrawal_journal" and path.parent.is_dir()
        assert path is None or path.exists() or made_later, ".".join(keys)
    pem = prepared.certificate(
        {"edp": "edp_service", "cap": "cap_portal", "fsp": "fsp_service"}[party], "certificate"
    ).read_bytes()
    member = member_certificate.parse(member_certificate.one_pem(pem))
    assert (member.application, member.member) == (read.member.application, read.member.url)


def test_an_override_must_name_a_party(tmp_path):
    with pytest.raises(ValueError, match=r"edp\.metadata"):
        parties.prepare(Layout(tmp_path, 8440), overrides={"metadata.authorization_alias": "false"})


@pytest.mark.parametrize("name", CLIENTS)
def test_a_clients_certificate_is_the_manifests(prepared, name):
    certificate = x509.load_pem_x509_certificate(prepared.certificate(name, "certificate").read_bytes())
    uris = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.UniformResourceIdentifier
    )
    assert uris[0] == prepared.application(name)
    assert len(uris) == (2 if name == "two_uris" else 1)
    chain = x509.load_pem_x509_certificates(prepared.certificate(name, "chain").read_bytes())
    assert len(chain) == (1 if name == "self_signed" else 2)


@pytest.mark.parametrize("name", LICENSES)
def test_a_license_names_what_it_covers_and_can_be_filled(name):
    layout = Layout(Path("/sandbox"), 8440)
    raw = registry.permission_text(layout, name)
    published = from_rdf(json.dumps(registry.license_document(layout, name)).encode(), layout.license(name))
    assert published.text_sha256 == licenses.digest(raw) == registry.text_sha256(layout, name)
    assert published.duration == "1 year"
    text = raw.decode("utf-8")
    assert "sandbox wording" in text.splitlines()[0].casefold()
    assert permission_text.names_fuel(text, licenses.ELECTRICITY)
    assert permission_text.names_fuel(text, licenses.GAS) is (name != "electricity")
    values = dict.fromkeys(permission_text.PLACEHOLDERS, "A value")
    values[permission_text.EDP_PRIVACY_POLICY] = "https://edp.example/privacy"
    assert any(token in text for token in permission_text.PLACEHOLDERS)
    page = permission_text.render(permission_text.fill(text, values))
    assert "<ul>" in page
    assert "<em>" in page
    assert "[" not in page


def test_the_electricity_text_speaks_of_greenhouse_gas_and_still_does_not_name_gas():
    text = registry.permission_text(Layout(Path("/sandbox"), 8440), "electricity").decode("utf-8")
    assert "greenhouse gas" in text
    assert not permission_text.names_fuel(text, licenses.GAS)
