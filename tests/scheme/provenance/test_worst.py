"""H10: what the costliest record costs. Fast: how often anything is verified. Long: CPU seconds of a megabyte."""

import json
import time
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from consent_server.scheme.instant import DAY
from consent_server.scheme.provenance import container, duties
from consent_server.scheme.provenance.container import SignedRecord, Signer
from consent_server.scheme.provenance.duties import ExpectedTransfer
from consent_server.scheme.provenance.step import MAX_STEP_CHARACTERS, ProvenanceError
from tests.scheme.provenance import worst
from tests.scheme.signing import EDP_ROLE, NOW, SigningAuthority, signing_authority


def verify(record: SignedRecord) -> list[dict[str, object]]:
    return container.verify(record, worst.FRAMEWORK, signing_authority().root)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a signature was verified, a chain built, and a permission judged."""
    container._read_chain.cache_clear()  # no chain is known yet
    counted = {}
    for module, name in ((container, "_is_signature"), (container, "build_chain"), (duties, "_allows")):
        monkeypatch.setattr(module, name, _counting(getattr(module, name), name, counted))
    return counted


def _counting(function: Callable[..., object], name: str, counted: dict[str, int]) -> Callable[..., object]:
    counted[name] = 0

    def call(*arguments: object) -> object:
        counted[name] += 1
        return function(*arguments)

    return call


def test_H10_a_chain_is_built_once_however_many_times_there_are(calls: dict[str, int]) -> None:
    assert len(verify(worst.signatures(40))) == 40
    assert calls == {"_is_signature": 40, "build_chain": 1, "_allows": 0}
    verify(worst.signers(5))
    assert calls["build_chain"] == 5  # that of the first record is known
    verify(worst.signatures(3))
    assert calls["build_chain"] == 5


def test_H10_no_more_chains_are_known_than_a_limit() -> None:
    assert container._read_chain.cache_parameters()["maxsize"] == 512


def test_H10_a_chain_that_is_known_counts_under_its_root_and_for_its_certificates_alone(calls: dict[str, int]) -> None:
    verify(worst.signatures(2))
    with pytest.raises(ProvenanceError, match="no valid chain"):
        container.verify(worst.signatures(2), worst.FRAMEWORK, SigningAuthority().root)
    record, other = worst.signatures(2), signing_authority().signer("other", EDP_ROLE)
    of_edp = record["certificates"][worst.edp().serial]
    record["certificates"][worst.edp().serial] = [other.certificates[other.serial][0], *of_edp[1:]]
    with pytest.raises(ProvenanceError, match="under its own serial"):
        verify(record)


def test_H10_every_time_is_held_against_the_chains_dates(calls: dict[str, int]) -> None:
    """The outermost signature is good, the inner one of the second record is older than the certificate."""
    good, bad = (worst.record([worst.signed([worst.small_step(1)], at=NOW - days * DAY)]) for days in (29, 31))
    for _ in range(2):  # before the chain is known, and afterwards
        with pytest.raises(ProvenanceError, match="at the time of signing"):
            verify(bad)
        verify(good)
    assert calls["build_chain"] == 1


def test_H10_who_did_not_sign_it_all_makes_us_verify_one_signature(calls: dict[str, int]) -> None:
    record = worst.signatures(40)
    record["steps"][-1][3] = record["steps"][1][-1][3]
    with pytest.raises(ProvenanceError, match="does not fit"):
        verify(record)
    assert calls["_is_signature"] == 1


@pytest.mark.parametrize(
    ("limit", "make"),
    [
        ("MAX_SIGNATURES", worst.signatures),
        ("MAX_CERTIFICATES", worst.signers),
        ("MAX_STEPS", worst.small_steps),
        ("MAX_STEPS", worst.origins),
        ("MAX_CERTIFICATES", worst.unused_certificates),
    ],
)
def test_H10_more_than_a_limit_is_refused_before_anything_is_verified(
    monkeypatch: pytest.MonkeyPatch, calls: dict[str, int], limit: str, make: Callable[[int], SignedRecord]
) -> None:
    monkeypatch.setattr(container, limit, 20)
    with pytest.raises(ProvenanceError):
        verify(make(21))
    assert calls["_is_signature"] == calls["build_chain"] == 0


def test_H10_lists_and_objects_are_counted_before_they_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    record = worst.record([worst.small_step(1), worst.encode({"a": [[], {}]})])
    monkeypatch.setattr(container, "MAX_BRACKETS", 5)
    with pytest.raises(ProvenanceError, match="lists and objects"):
        verify(record)
    monkeypatch.setattr(container, "MAX_BRACKETS", 6)
    with pytest.raises(ProvenanceError, match="a step has an id"):
        verify(record)


@pytest.mark.parametrize("depth", [0, container.MAX_NESTED_LISTS])
def test_H10_what_is_signed_again_counts_again(monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    steps: list[object] = [worst.small_step(1)]
    for _ in range(depth):
        steps = [worst.signed(steps)]
    record = worst.record(steps)
    characters = len(worst.encode(worst.ORIGIN)) + (depth + 1) * len(worst.small_step(1))
    monkeypatch.setattr(container, "MAX_RECORD_CHARACTERS", characters)
    verify(record)
    monkeypatch.setattr(container, "MAX_RECORD_CHARACTERS", characters - 1)
    with pytest.raises(ProvenanceError, match="too long"):
        verify(record)


def test_H10_a_slower_curve_signs_no_record() -> None:
    slow = Signer(*signing_authority().member("slow", EDP_ROLE, key=ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(ProvenanceError, match="P-256"):
        verify(worst.record([worst.signed([worst.small_step(1)], slow)], slow))


EXPECTED = ExpectedTransfer(
    recipients={"us"},
    signer_member=worst.edp().member,
    signer_application=worst.edp().application,
    signer_role=EDP_ROLE,
    scheme="s",
    standard="s",
    license="l",
    service="s",
    path="p",
    parameters={},
    at=NOW,
)
TERMS = {"to": "us", "scheme": "s", "standard": "s", "license": "l", "service": "s", "path": "p", "parameters": {}}


def test_H10_a_permission_is_judged_once_however_often_it_is_named(calls: dict[str, int]) -> None:
    steps = verify(worst.permissions(3 * MAX_STEP_CHARACTERS, TERMS))
    transfers = duties.receipt_check(steps, EXPECTED)
    assert len(transfers) > 1
    assert sum(len(transfer["permissions"]) for transfer in transfers) > 10_000
    assert calls["_allows"] == 1


def test_H10_a_response_has_few_transfers(calls: dict[str, int]) -> None:
    steps = verify(worst.permissions(3 * MAX_STEP_CHARACTERS, TERMS))
    too_many = [*steps, *[steps[-1]] * duties.MAX_TRANSFERS]
    with pytest.raises(ProvenanceError, match="more transfers"):
        duties.receipt_check(too_many, EXPECTED)
    assert calls["_allows"] == 0


WORST: dict[str, Callable[[], SignedRecord]] = {
    "signatures": lambda: worst.signatures(container.MAX_SIGNATURES),
    "nested lists": lambda: worst.nested(container.MAX_SIGNATURES),
    "signers": lambda: worst.signers(container.MAX_CERTIFICATES - 1),
    "signatures, signers and content": worst.mixed,
    "steps": lambda: worst.small_steps(container.MAX_STEPS),
    "long steps, deep inside": lambda: worst.deep(worst.SIZE),
    "references": lambda: worst.references(worst.SIZE),
    "permissions": lambda: worst.permissions(worst.SIZE, TERMS),
    **{f"steps of {kind}": lambda kind=kind: worst.contents(kind, worst.SIZE) for kind in worst.JSON},
}


@pytest.mark.long
@pytest.mark.parametrize("name", WORST)
def test_H10_a_megabyte_costs_at_most_three_tenths_of_a_second_of_cpu(name: str) -> None:
    text = json.dumps(WORST[name]())
    assert len(text) < 1.1 * worst.SIZE
    seconds = []
    for _ in range(3):
        container._read_chain.cache_clear()  # as for a record whose signers have never been seen
        began = time.process_time()
        steps = verify(json.loads(text))
        if name == "permissions":
            duties.receipt_check(steps, EXPECTED)
        seconds.append(time.process_time() - began)
    print(f"{name}: {len(text)} characters, {min(seconds):.3f} s")
    assert min(seconds) <= 0.3
