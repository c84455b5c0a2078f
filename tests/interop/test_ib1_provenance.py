"""Our provenance records and those of the reference library (ib1-provenance on PyPI) are one format, both ways.

The library needs a cryptography years older than ours, so it gets a virtual environment of its own. Its clock is the
machine's: it has none that a test could hold, so the certificates of these tests are valid around the present.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from consent_server import clock
from consent_server.scheme import instant
from consent_server.scheme.provenance.container import Signer, verify
from consent_server.scheme.provenance.duties import ExpectedTransfer, checked_receipt
from consent_server.scheme.provenance.step import ProvenanceError
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    CONSUMPTION_PATH,
    EmissionsRelease,
    FuelEmissions,
    GrantedPermission,
    IntensityUse,
    MeterRelease,
    cap_record,
    consumption_standard,
    edp_record,
    scheme_url,
    trust_framework_url,
    window_parameters,
)
from tests.conftest import missing
from tests.scheme.signing import CAP_ROLE, DIRECTORY, EDP_ROLE, REGISTRY, SMART_METERS, SigningAuthority

pytestmark = pytest.mark.xdist_group("ib1-provenance")  # one virtual environment, not one for each worker

HERE = Path(__file__).parent
FRAMEWORK = trust_framework_url(REGISTRY)
SCHEME = scheme_url(REGISTRY)
LICENSE = f"{SCHEME}/license/energy-consumption-emissions-edp-cap-fsp/2026-03-12"
NOW = clock.now()
YEAR = (instant.parse("2025-03-01T00:00:00Z"), instant.parse("2026-03-01T00:00:00Z"))

AUTHORITY = SigningAuthority(now=NOW)
EDP = AUTHORITY.member("edp", EDP_ROLE)
CAP = AUTHORITY.member("cap", CAP_ROLE)


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """A function that hands the reference library a job and returns its answer; RuntimeError when it refuses."""
    folder = tmp_path_factory.mktemp("ib1-provenance")
    python = folder / "bin" / "python"
    lock = HERE / "ib1-provenance.lock"
    install = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", lock]
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, check=True)
        subprocess.run(install, capture_output=True, check=True)
    except subprocess.CalledProcessError:
        missing("ib1-provenance 0.5.3 (a virtual environment for it could not be made, or the package not fetched)")

    def ask(**job):
        run = subprocess.run(
            [python, "-I", HERE / "reference_provenance.py"],
            input=json.dumps(job | {"trust_framework": FRAMEWORK, "root": AUTHORITY.root_pem.decode()}),
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise RuntimeError(run.stderr)
        return json.loads(run.stdout)

    return ask


def ours():
    release = MeterRelease(
        registry=REGISTRY,
        grant=GrantedPermission(
            account="opaque",
            license=LICENSE,
            granted=NOW - 60,
            expires=instant.months_later(NOW, 12),
            fuels={"electricity", "gas"},
        ),
        origin=SMART_METERS,
        to=f"{DIRECTORY}/m/cap",
        service=f"{DIRECTORY}/catalog/edp",
        measure="import",
        start=YEAR[0],
        end=YEAR[1],
        outcode="SW8",
        missing_data=COMPLETE,
        at=NOW,
    )
    return edp_record(release, Signer(*EDP))


def ours_receipted(record):
    expected = ExpectedTransfer(
        recipients={f"{DIRECTORY}/m/cap"},
        signer_member=f"{DIRECTORY}/m/edp",
        signer_application=f"{DIRECTORY}/a/edp",
        signer_role=EDP_ROLE,
        scheme=SCHEME,
        standard=consumption_standard(REGISTRY),
        license=LICENSE,
        service=f"{DIRECTORY}/catalog/edp",
        path=CONSUMPTION_PATH,
        parameters=window_parameters(*YEAR, "import"),
        at=clock.now(),
    )
    return checked_receipt(record, expected, FRAMEWORK, AUTHORITY.root, Signer(*CAP)).record


def ours_blended(received):
    now = clock.now()
    factor = IntensityUse(outcode="SW8", start=YEAR[0], end=YEAR[1], missing_data=COMPLETE, at=now)
    release = EmissionsRelease(
        registry=REGISTRY,
        grant=None,
        license=LICENSE,
        to=f"{DIRECTORY}/m/fsp",
        service=f"{DIRECTORY}/catalog/cap",
        start=YEAR[0],
        end=YEAR[1],
        fuels=[
            FuelEmissions(fuel="electricity", received=received, factors=[factor], missing_data=COMPLETE, at=now),
        ],
        at=now,
    )
    return cap_record(release, Signer(*CAP))


def theirs(reference):
    """What the library makes of the steps that our own record holds."""
    kept = [{name: value for name, value in step.items() if name not in ("id", "_signature")} for step in read(ours())]
    permission, origin, transfer = kept
    origin["permissions"] = transfer["permissions"] = ["$0"]
    transfer["of"] = "$1"
    steps = [permission, origin, transfer]
    return reference(do="sign", records=[], steps=steps, chain=EDP[0].decode(), key=EDP[1].decode())


def read(record):
    return verify(record, FRAMEWORK, AUTHORITY.root)


def as_the_library_says(steps):
    """Ours adds the time of signing, and sorts the roles."""
    told = json.loads(json.dumps(steps))
    for step in told:
        step["_signature"].pop("timestamp", None)
    return told


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(ours, id="energy data provider's"),
        pytest.param(lambda: ours_receipted(ours()), id="with a receipt around it"),
        pytest.param(
            lambda: ours_blended([ours_receipted(ours()), ours_receipted(ours())]), id="two, blended into a report"
        ),
    ],
)
def test_the_library_reads_ours_as_we_do(reference, make):
    record = make()
    assert reference(do="verify", record=record) == as_the_library_says(read(record))


def test_we_read_theirs_as_they_do(reference):
    record = theirs(reference)
    assert as_the_library_says(read(record)) == reference(do="verify", record=record)


def test_their_record_differs_from_ours_only_in_ids_and_signature(reference):
    one, other = ours(), theirs(reference)
    assert one.keys() == other.keys()
    assert one["certificates"] == other["certificates"]
    ids = dict(zip((s["id"] for s in read(other)), (s["id"] for s in read(one)), strict=True))
    again = json.dumps([{k: v for k, v in step.items() if k != "_signature"} for step in read(other)])
    for theirs_id, ours_id in ids.items():
        again = again.replace(theirs_id, ours_id)
    assert json.loads(again) == [{k: v for k, v in step.items() if k != "_signature"} for step in read(one)]
    assert list(map(list, json.loads(again))) == [[k for k in step if k != "_signature"] for step in read(one)]


def test_each_signs_around_what_the_other_signed(reference):
    """Theirs in ours, and that in theirs: each signs around what the other signed."""
    blended = ours_blended([ours_receipted(theirs(reference))])
    transfer = len(read(blended)) - 1
    receipt = {"type": "receipt", "scheme": SCHEME, "timestamp": instant.text(NOW), "transfer": f"@{transfer}"}
    again = reference(do="sign", records=[blended], steps=[receipt], chain=EDP[0].decode(), key=EDP[1].decode())
    steps = read(again)
    assert as_the_library_says(steps) == reference(do="verify", record=again)
    assert [len(step["_signature"]["includedBy"]) for step in steps] == [3, 3, 3, 2, 1, 1, 1, 0]


def test_both_refuse_a_changed_record(reference):
    record = ours_receipted(ours())
    record["steps"][0][-1][2] = instant.text(NOW + 1)
    with pytest.raises(ProvenanceError):
        read(record)
    with pytest.raises(RuntimeError, match="InvalidSignature"):
        reference(do="verify", record=record)
