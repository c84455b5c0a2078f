"""The two providers' records, and what a receiver checks before it signs."""

import copy
from dataclasses import replace

import pytest

from consent_server.scheme import instant
from consent_server.scheme.factors import LATEST_PUBLISHED, PUBLISHED, in_force, used
from consent_server.scheme.provenance.container import CLOCK_SKEW, Record, unverified_steps, verify
from consent_server.scheme.provenance.deployed import transfer_forms
from consent_server.scheme.provenance.duties import TRANSFER_MAX_AGE, ExpectedTransfer, checked_receipt, receipt_check
from consent_server.scheme.provenance.step import ProvenanceError
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    CONSUMPTION_PATH,
    EMISSIONS_PATH,
    MISSING,
    SUBSTITUTED,
    EmissionsRelease,
    FuelEmissions,
    GasFactorUse,
    GrantedPermission,
    IntensityUse,
    MeterOrigin,
    MeterRelease,
    cap_record,
    consumption_standard,
    edp_record,
    emissions_standard,
    permission_step,
    process_url,
    scheme_url,
    transfer_step,
    trust_framework_url,
    window_parameters,
    worst_missing_data,
)
from tests.scheme.signing import (
    CAP_ROLE,
    DIRECTORY,
    EDP_ROLE,
    FSP_ROLE,
    NOW,
    REGISTRY,
    SMART_METERS,
    member_signer,
    signing_authority,
)

SCHEME = scheme_url(REGISTRY)
FRAMEWORK = trust_framework_url(REGISTRY)
EDP_CAP = f"{SCHEME}/license/energy-consumption-edp-cap/2026-03-12"
CAP_FSP = f"{SCHEME}/license/emissions-cap-fsp/2026-03-12"
ONE_PERMISSION = f"{SCHEME}/license/energy-consumption-emissions-edp-cap-fsp/2026-03-12"
YEAR = (instant.parse("2025-03-01T00:00:00Z"), instant.parse("2026-03-01T00:00:00Z"))
EDP_SERVICE = f"{DIRECTORY}/catalog/edp"
CAP_SERVICE = f"{DIRECTORY}/catalog/cap"
MINUTE = 60

GRANT = GrantedPermission(
    account="Zm9vYmFy",
    license=EDP_CAP,
    granted=NOW - 3600,
    expires=instant.months_later(NOW - 3600, 12),
    fuels={"electricity", "gas"},
)
RELEASE = MeterRelease(
    registry=REGISTRY,
    grant=GRANT,
    origin=SMART_METERS,
    to=f"{DIRECTORY}/m/cap",
    service=EDP_SERVICE,
    measure="import",
    start=YEAR[0],
    end=YEAR[1],
    outcode="SW8",
    missing_data=COMPLETE,
    at=NOW,
)
EXPECTED = ExpectedTransfer(
    recipients={f"{DIRECTORY}/m/cap"},
    signer_member=f"{DIRECTORY}/m/edp",
    signer_application=f"{DIRECTORY}/a/edp",
    signer_role=EDP_ROLE,
    scheme=SCHEME,
    standard=consumption_standard(REGISTRY),
    license=EDP_CAP,
    service=EDP_SERVICE,
    path=CONSUMPTION_PATH,
    parameters=window_parameters(*YEAR, "import"),
    at=NOW + 1,
)


ADDRESS = "https://edp.example/datasources/meter-1/import"
#: The same call by a receiver that accepts deployed forms, as our CAP does.
TOLERANT = replace(
    EXPECTED,
    deployed=transfer_forms(
        application=f"{DIRECTORY}/a/cap", license=EDP_CAP, address=ADDRESS, parameters=EXPECTED.parameters
    ),
)


def edp():
    return member_signer("edp", EDP_ROLE)


def cap():
    return member_signer("cap", CAP_ROLE)


def read(record):
    return verify(record, FRAMEWORK, signing_authority().root)


def receipted(release=RELEASE, expected=EXPECTED):
    return checked_receipt(edp_record(release, edp()), expected, FRAMEWORK, signing_authority().root, cap())


def without_signature(step):
    return {name: value for name, value in step.items() if name not in ("id", "_signature")}


def test_D7_an_origin_is_what_the_source_says_and_claims_nothing_else():
    own = MeterOrigin("SubMeter", f"{DIRECTORY}/m/edp", EDP_CAP)
    record = read(edp_record(replace(RELEASE, origin=own, missing_data=SUBSTITUTED), edp()))
    assert record[0]["allows"]["licenses"] == [EDP_CAP]
    origin = record[1]
    assert (origin["origin"], origin["originLicense"]) == (f"{DIRECTORY}/m/edp", EDP_CAP)
    assert origin["sourceType"].endswith("/SubMeter")
    assert origin["perseus:assurance"] == {"missingData": f"{SCHEME}/assurance/missing-data/Substituted"}
    assert "smartdcc" not in str(record)
    assert "smartenergycode" not in str(record)


def test_an_energy_data_providers_record():
    permission, origin, transfer = read(edp_record(RELEASE, edp()))
    assert without_signature(permission) == {
        "timestamp": "2026-03-12T08:30:00Z",
        "type": "permission",
        "scheme": SCHEME,
        "account": "Zm9vYmFy",
        "allows": {
            "licenses": [SMART_METERS.license, EDP_CAP],
            "processes": [
                f"{SCHEME}/process/electricity-emissions-calculation/2026-03-12",
                f"{SCHEME}/process/gas-emissions-calculation/2026-03-12",
            ],
        },
        "expires": "2027-03-12T08:30:00Z",
    }
    assert without_signature(origin) == {
        "timestamp": "2026-03-12T09:30:00Z",
        "type": "origin",
        "scheme": SCHEME,
        "sourceType": f"{SCHEME}/source-type/Meter",
        "origin": "https://www.smartdcc.co.uk/",
        "originLicense": SMART_METERS.license,
        "external": True,
        "permissions": [permission["id"]],
        "perseus:scheme": {
            "meteringPeriod": {"from": "2025-03-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
            "postcode": "SW8",
        },
        "perseus:assurance": {
            "missingData": f"{SCHEME}/assurance/missing-data/Complete",
            "originMethod": f"{SCHEME}/assurance/origin-method/SmartDCCOtherUser",
        },
    }
    assert without_signature(transfer) == {
        "timestamp": "2026-03-12T09:30:00Z",
        "type": "transfer",
        "scheme": SCHEME,
        "of": origin["id"],
        "to": f"{DIRECTORY}/m/cap",
        "standard": f"{SCHEME}/standard/energy-consumption-data/2026-03-12",
        "license": EDP_CAP,
        "service": EDP_SERVICE,
        "path": "/datasources/{id}/{measure}",
        "parameters": {"measure": "import", "from": "2025-03-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
        "permissions": [permission["id"]],
    }


def test_an_electricity_permission_names_no_gas_process():
    release = replace(RELEASE, grant=replace(GRANT, fuels={"electricity"}))
    permission = read(edp_record(release, edp()))[0]
    assert permission["allows"]["processes"] == [process_url(REGISTRY, "electricity")]


def test_the_metering_period_may_be_shorter_than_the_window():
    later = YEAR[0] + 86400
    _, origin, transfer = read(edp_record(replace(RELEASE, metered=(later, YEAR[1]), missing_data=MISSING), edp()))
    assert origin["perseus:scheme"]["meteringPeriod"]["from"] == instant.text(later)
    assert transfer["parameters"]["from"] == instant.text(YEAR[0])


def test_a_receipt_is_signed_around_the_record():
    received = receipted()
    steps = read(received.record)
    assert [step["type"] for step in steps] == ["permission", "origin", "transfer", "receipt"]
    assert steps[3]["id"] == received.receipts[0]
    assert without_signature(steps[3]) == {
        "timestamp": instant.text(NOW + 1),
        "type": "receipt",
        "scheme": SCHEME,
        "transfer": steps[2]["id"],
    }
    assert steps[3]["_signature"]["signed"]["member"] == f"{DIRECTORY}/m/cap"
    assert [step["type"] for step in received.steps] == ["permission", "origin", "transfer"]


# A receiver's duties: one way each in which a properly signed record is not what was called for

SPOILED_TRANSFERS = {
    "to another member": {"to": f"{DIRECTORY}/m/cap2"},
    "to another application": {"to": f"{DIRECTORY}/a/cap2"},
    "to a list": {"to": [f"{DIRECTORY}/m/cap"]},
    "another scheme": {"scheme": f"{REGISTRY}/scheme/other"},
    "another standard": {"standard": emissions_standard(REGISTRY)},
    "another license": {"license": CAP_FSP},
    "another service": {"service": CAP_SERVICE},
    "another meter's address": {"service": "https://edp.example/datasources/meter-2/import"},
    "another measure's address": {"service": "https://edp.example/datasources/meter-1/export"},
    "another host's address": {"service": "https://edp2.example/datasources/meter-1/import"},
    "an address with a query": {"service": f"{ADDRESS}?from=2025-03-01"},
    "the meter in the path": {"path": "/datasources/123/import"},
    "a path below": {"path": "/readings/"},
    "the other measure": {"parameters": window_parameters(*YEAR, "export")},
    "another window": {"parameters": window_parameters(YEAR[0] + 1800, YEAR[1], "import")},
    "another window, to the minute": {
        "parameters": {"measure": "import", "from": "2025-02-28T00:00Z", "to": "2026-03-01T00:00Z"}
    },
    "dates alone": {"parameters": {"measure": "import", "from": "2025-03-01", "to": "2026-03-01"}},
    "half to the minute": {
        "parameters": {"measure": "import", "from": "2025-03-01T00:00Z", "to": "2026-03-01T00:00:00Z"}
    },
    "another license in both spellings": {"license": CAP_FSP, "licence": EDP_CAP},
    "a parameter more": {"parameters": {**window_parameters(*YEAR, "import"), "id": "1"}},
    "no parameters": {"parameters": None},
    "no permissions": {"permissions": []},
    "from the future": {"timestamp": instant.text(NOW + 1 + CLOCK_SKEW + 1)},
    "long ago": {"timestamp": instant.text(NOW - TRANSFER_MAX_AGE)},
}
#: A transfer in the specification's form, and as the scheme's own provider writes it.
IN = {
    "specified": {},
    "deployed": {
        "to": f"{DIRECTORY}/a/cap",
        "service": ADDRESS,
        "path": "/readings",
        "parameters": {"measure": "import", "from": "2025-03-01T00:00Z", "to": "2026-03-01T00:00Z"},
    },
}
SPOILED_PERMISSIONS = {
    "no account": {"account": None},
    "an empty account": {"account": ""},
    "expired": {"expires": instant.text(NOW + 1)},
    "no end": {"expires": None},
    "end without a zone": {"expires": "2027-03-12T08:30:00"},
    "granted in the future": {"timestamp": instant.text(NOW + 1 + CLOCK_SKEW + 1)},
    "another license allowed": {"allows": {"licenses": [CAP_FSP]}},
    "licenses as text": {"allows": {"licenses": EDP_CAP}},
    "another license in one of the spellings": {"allows": {"licenses": [CAP_FSP], "licences": [EDP_CAP]}},
    "allows nothing": {"allows": None},
}


def signed_with(transfer=None, permission=None, signer=None, at=NOW, origin=None):
    record = Record(FRAMEWORK)
    good = permission_step(
        scheme=SCHEME, at=NOW - 3600, account="a", licenses=[EDP_CAP], processes=[], expires=GRANT.expires
    )
    given = record.add_step({**good, **(permission or {})})
    good = {"type": "origin", "timestamp": instant.text(NOW), "permissions": [given], "originLicense": EDP_CAP}
    origin = record.add_step({**good, "perseus:scheme": {"postcode": "SW8"}, **(origin or {})})
    good = transfer_step(
        scheme=SCHEME,
        at=NOW,
        of=origin,
        to=f"{DIRECTORY}/m/cap",
        standard=consumption_standard(REGISTRY),
        license=EDP_CAP,
        service=EDP_SERVICE,
        path=CONSUMPTION_PATH,
        parameters=window_parameters(*YEAR, "import"),
        permissions=[given],
    )
    changed = {**good, **(transfer or {})}
    record.add_step({name: value for name, value in changed.items() if value is not ...})
    return record.sign(signer or edp(), at)


def test_a_record_as_called_for_passes():
    assert [step["type"] for step in receipt_check(read(signed_with()), EXPECTED)] == ["transfer"]


@pytest.mark.parametrize("form", ["specified", "deployed"])
@pytest.mark.parametrize("changes", SPOILED_TRANSFERS.values(), ids=SPOILED_TRANSFERS.keys())
def test_a_transfer_that_was_not_called_for_gets_no_receipt(changes, form):
    with pytest.raises(ProvenanceError, match=r"^transfer: "):
        receipt_check(read(signed_with(transfer=IN[form] | changes)), TOLERANT)


@pytest.mark.parametrize("form", ["specified", "deployed"])
@pytest.mark.parametrize("changes", SPOILED_PERMISSIONS.values(), ids=SPOILED_PERMISSIONS.keys())
def test_a_permission_that_does_not_carry_the_transfer_gets_no_receipt(changes, form):
    with pytest.raises(ProvenanceError, match=r"^permission: "):
        receipt_check(read(signed_with(transfer=IN[form], permission=changes)), TOLERANT)


@pytest.mark.parametrize("form", ["specified", "deployed"])
@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        pytest.param({"signer_member": f"{DIRECTORY}/m/edp2"}, "member", id="another member"),
        pytest.param({"signer_application": f"{DIRECTORY}/a/edp2"}, "application", id="another application"),
        pytest.param({"signer_role": CAP_ROLE}, "role", id="without the role"),
        pytest.param({"signer_role": EDP_ROLE[:-1]}, "role", id="role not whole"),
    ],
)
def test_a_signer_that_was_not_called_gets_no_receipt(expected, reason, form):
    with pytest.raises(ProvenanceError, match=rf"^signature: .*{reason}"):
        receipt_check(read(signed_with(IN[form])), replace(TOLERANT, **expected))


@pytest.mark.parametrize("form", ["specified", "deployed"])
@pytest.mark.parametrize("at", [NOW + 1 + CLOCK_SKEW + 1, NOW - TRANSFER_MAX_AGE], ids=["from the future", "long ago"])
def test_a_signature_of_another_time_gets_no_receipt(at, form):
    with pytest.raises(ProvenanceError, match=r"^transfer: "):
        receipt_check(read(signed_with(IN[form], at=at)), TOLERANT)


@pytest.mark.parametrize("form", ["specified", "deployed"])
def test_another_partys_transfer_inside_does_not_count(form):
    outer = Record(FRAMEWORK)
    outer.add_record(signed_with(IN[form]))
    outer.add_step({"type": "origin", "timestamp": instant.text(NOW)})
    with pytest.raises(ProvenanceError, match="last signer"):
        receipt_check(read(outer.sign(edp(), NOW)), TOLERANT)


@pytest.mark.parametrize("form", ["specified", "deployed"])
def test_a_step_that_was_forged_gets_no_receipt(form):
    record, other = copy.deepcopy(signed_with(IN[form])), signed_with(IN[form], permission={"account": "b"})
    record["steps"][0] = other["steps"][0]
    with pytest.raises(ProvenanceError):
        checked_receipt(record, TOLERANT, FRAMEWORK, signing_authority().root, cap())


def of_call(transfer):
    return receipt_check(read(signed_with(transfer=transfer)), EXPECTED)


@pytest.mark.parametrize("form", TOLERANT.deployed, ids=lambda form: form.name)
def test_a_deployed_form_of_a_transfer_is_accepted_by_who_says_so_alone(form):
    transfer = {form.member: ..., form.key: form.value}
    assert names(transfer) == (form.name,)
    with pytest.raises(ProvenanceError, match=rf"^transfer: {form.member} must be"):
        of_call(transfer)


def test_the_deployed_forms_of_one_transfer_go_together():
    assert names(IN["deployed"]) == (
        "transfer_minutes",
        "transfer_path_readings",
        "transfer_service_address",
        "transfer_to_application",
    )


def test_a_permission_in_the_british_spelling_is_read_by_who_says_so_alone():
    permission = {"allows": {"licences": [EDP_CAP], "processes": []}}
    assert names(permission=permission) == ("permission_licences",)
    with pytest.raises(ProvenanceError, match=r"^permission: allows must name"):
        receipt_check(read(signed_with(permission=permission)), EXPECTED)


@pytest.mark.parametrize(
    ("name", "permission", "origin"),
    [
        pytest.param(None, {}, {}, id="as specified"),
        pytest.param("permission_without_processes", {"allows": {"licenses": [EDP_CAP]}}, {}),
        pytest.param("permission_without_origin_license", {}, {"originLicense": SMART_METERS.license}),
        pytest.param("origin_without_postcode", {}, {"perseus:scheme": {}}),
    ],
)
def test_what_nothing_rests_on_is_named(name, permission, origin):
    assert names(permission=permission, origin=origin) == ((name,) if name else ())


def names(transfer=None, permission=None, origin=None):
    """The deployed forms that are accepted in a record, beside the receipt."""
    record = signed_with(transfer, permission, origin=origin)
    return checked_receipt(record, TOLERANT, FRAMEWORK, signing_authority().root, cap()).deployed


def test_a_window_that_does_not_begin_on_a_minute_has_no_form_to_the_minute():
    parameters = window_parameters(YEAR[0] + 1, YEAR[1] + 1, "import")
    forms = transfer_forms(application="a", license="l", address="https://x", parameters=parameters)
    assert "transfer_minutes" not in {form.name for form in forms}


def test_nothing_is_signed_when_a_record_is_not_as_called_for():
    with pytest.raises(ProvenanceError, match="to must be"):
        receipted(replace(RELEASE, to=f"{DIRECTORY}/m/other"))
    spoiled = copy.deepcopy(edp_record(RELEASE, edp()))
    spoiled["steps"][-1][2] = instant.text(NOW + 1)
    with pytest.raises(ProvenanceError, match="does not fit"):
        checked_receipt(spoiled, EXPECTED, FRAMEWORK, signing_authority().root, cap())


# The carbon accounting provider


def emissions_release(grant, license):
    edp_license = EDP_CAP if grant else license
    release = replace(RELEASE, grant=replace(GRANT, license=edp_license))
    expected = replace(EXPECTED, license=edp_license)
    electricity = [receipted(replace(release, outcode=outcode), expected).record for outcode in ("SW8", "M1")]
    gas = [receipted(release, expected).record]
    return EmissionsRelease(
        registry=REGISTRY,
        grant=grant,
        license=license,
        to=f"{DIRECTORY}/m/fsp",
        service=CAP_SERVICE,
        start=YEAR[0],
        end=YEAR[1],
        fuels=[
            FuelEmissions(
                fuel="electricity",
                received=electricity,
                factors=[
                    IntensityUse(outcode=outcode, start=YEAR[0], end=YEAR[1], missing_data=COMPLETE, at=NOW + MINUTE)
                    for outcode in ("SW8", "M1")
                ],
                missing_data=COMPLETE,
                at=NOW + 2 * MINUTE,
            ),
            FuelEmissions(
                fuel="gas",
                received=gas,
                factors=[
                    GasFactorUse(
                        source=use.factor.source,
                        license=use.factor.license,
                        start=use.start,
                        end=use.end,
                        at=NOW + MINUTE,
                    )
                    for use in used(in_force(PUBLISHED, LATEST_PUBLISHED), *YEAR)
                ],
                missing_data=MISSING,
                at=NOW + 2 * MINUTE,
            ),
        ],
        at=NOW + 3 * MINUTE,
    )


FSP_GRANT = GrantedPermission(
    account="another",
    license=CAP_FSP,
    granted=NOW,
    expires=instant.months_later(NOW, 12),
    fuels={"electricity", "gas"},
)


def test_a_blended_record_under_a_permission_of_its_own():
    steps = read(cap_record(emissions_release(FSP_GRANT, CAP_FSP), cap()))
    by_type = {kind: [step for step in steps if step["type"] == kind] for kind in {step["type"] for step in steps}}
    own = [step for step in steps if not step["_signature"]["includedBy"]]
    assert [step["type"] for step in own] == [
        "permission",
        *("origin", "origin", "process", "transfer"),
        *("origin", "origin", "process", "transfer"),
    ]
    permission = own[0]
    assert permission["allows"]["licenses"] == [CAP_FSP]
    electricity, gas = by_type["process"]
    receipts = [step["id"] for step in by_type["receipt"]]
    assert electricity["inputs"] == [*receipts[:2], own[1]["id"], own[2]["id"]]
    assert gas["inputs"] == [receipts[2], own[5]["id"], own[6]["id"]]
    assert [step["process"] for step in (electricity, gas)] == [
        process_url(REGISTRY, "electricity"),
        process_url(REGISTRY, "gas"),
    ]
    assert gas["perseus:assurance"] == {"missingData": f"{SCHEME}/assurance/missing-data/Missing"}
    assert [step["sourceType"].rpartition("/")[2] for step in by_type["origin"]] == [
        *["Meter"] * 3,
        *["GridCarbonIntensity"] * 2,
        *["GasGreenhouseGasFactor"] * 2,
    ]
    received = [step["id"] for step in by_type["permission"] if step is not permission]
    assert [electricity["permissions"], gas["permissions"]] == [received[:2], received[2:]]
    for process, transfer in zip((electricity, gas), (own[4], own[8]), strict=True):
        assert transfer["of"] == process["id"]
        assert transfer["permissions"] == [permission["id"]]
        assert (transfer["to"], transfer["license"], transfer["path"]) == (f"{DIRECTORY}/m/fsp", CAP_FSP, "/emissions")
        assert transfer["parameters"] == {"from": "2025-03-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}


def test_under_one_permission_the_energy_data_providers_steps_carry_it():
    steps = read(cap_record(emissions_release(None, ONE_PERMISSION), cap()))
    permissions = [step for step in steps if step["type"] == "permission"]
    assert {step["_signature"]["signed"]["member"] for step in permissions} == {f"{DIRECTORY}/m/edp"}
    ids = [step["id"] for step in permissions]
    relied_on = [step["permissions"] for step in steps if step["type"] == "process"]
    assert relied_on == [ids[:2], ids[2:]]


@pytest.mark.long
@pytest.mark.parametrize(("meters", "windows"), [(1_000, 1), (50, 13)])
def test_H10_an_honest_business_of_many_meters_stays_within_the_limits(meters, windows):
    release = emissions_release(None, ONE_PERMISSION)
    electricity = release.fuels[0]
    expected = replace(EXPECTED, license=ONE_PERMISSION)
    one = replace(RELEASE, grant=replace(GRANT, license=ONE_PERMISSION), outcode="SW8A")
    received = [receipted(one, expected).record for _ in range(meters * windows)]
    factors = [replace(electricity.factors[0], outcode=f"A{number}") for number in range(120)]
    many = replace(electricity, received=received, factors=factors)
    record = cap_record(replace(release, fuels=[many, release.fuels[1]]), cap())
    assert len(read(record)) > 4 * meters * windows


@pytest.mark.parametrize(
    ("grant", "license"), [(FSP_GRANT, CAP_FSP), (None, ONE_PERMISSION)], ids=["two permissions", "one permission"]
)
def test_the_bank_receives_what_it_called_for(grant, license):
    record = cap_record(emissions_release(grant, license), cap())
    expected = ExpectedTransfer(
        recipients={f"{DIRECTORY}/m/fsp", f"{DIRECTORY}/a/fsp"},
        signer_member=f"{DIRECTORY}/m/cap",
        signer_application=f"{DIRECTORY}/a/cap",
        signer_role=CAP_ROLE,
        scheme=SCHEME,
        standard=emissions_standard(REGISTRY),
        license=license,
        service=CAP_SERVICE,
        path=EMISSIONS_PATH,
        parameters=window_parameters(*YEAR),
        at=NOW + 4 * MINUTE,
    )
    signer = member_signer("fsp", FSP_ROLE)
    received = checked_receipt(record, expected, FRAMEWORK, signing_authority().root, signer)
    assert len(received.receipts) == 2
    own, _ = unverified_steps(received.record, FRAMEWORK)
    assert [step["type"] for step in own] == ["receipt", "receipt"]


def test_a_record_without_our_receipt_is_not_built_on():
    release = emissions_release(FSP_GRANT, CAP_FSP)
    fuel = replace(release.fuels[0], received=[edp_record(RELEASE, edp())])
    with pytest.raises(ProvenanceError, match="receipt"):
        cap_record(replace(release, fuels=[fuel]), cap())


@pytest.mark.parametrize(
    ("said", "worst"),
    [
        pytest.param([COMPLETE, COMPLETE], COMPLETE, id="complete"),
        pytest.param([COMPLETE, SUBSTITUTED], SUBSTITUTED, id="substituted"),
        pytest.param([SUBSTITUTED, MISSING], MISSING, id="missing"),
        pytest.param([COMPLETE, "None"], MISSING, id="not in the list"),
        pytest.param([COMPLETE, None], MISSING, id="not said"),
    ],
)
def test_the_worst_word_on_missing_data_counts(said, worst):
    steps = [
        {"type": "origin", "perseus:assurance": {"missingData": f"{SCHEME}/assurance/missing-data/{word}"}}
        if word
        else {"type": "origin"}
        for word in said
    ]
    assert worst_missing_data([*steps, {"type": "transfer"}]) == worst
