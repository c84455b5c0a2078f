"""Records: made, nested, signed, verified; and every way to spoil one is refused."""

import base64
import contextlib
import copy
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_server.pki.member_certificate import MalformedCertificate
from consent_server.scheme import instant
from consent_server.scheme.provenance import container as provenance
from consent_server.scheme.provenance.container import Record, Signer, unverified_steps, verify
from consent_server.scheme.provenance.step import MAX_STEP_CHARACTERS, ProvenanceError
from tests.scheme.signing import (
    CAP_ROLE,
    DIRECTORY,
    EDP_ROLE,
    NOW,
    REGISTRY,
    SigningAuthority,
    member_signer,
    signing_authority,
)

FRAMEWORK = f"{REGISTRY}/trust-framework"
DAYS = 86400
WHEN = {"timestamp": instant.text(NOW)}
PERMISSION = {"type": "permission", "account": "a-person", **WHEN}
ORIGIN = {"type": "origin", "origin": "https://example.org/", **WHEN}


def edp():
    return member_signer("edp", EDP_ROLE)


def cap():
    return member_signer("cap", CAP_ROLE)


def read(record, framework=FRAMEWORK):
    return verify(record, framework, signing_authority().root)


def edp_signed(at=NOW, signer=None):
    record = Record(FRAMEWORK)
    permission = record.add_step(PERMISSION)
    origin = record.add_step({**ORIGIN, "permissions": [permission]})
    record.add_step({"type": "transfer", "of": origin, "to": f"{DIRECTORY}/m/cap", "permissions": [permission], **WHEN})
    return record.sign(signer or edp(), at)


def cap_signed(*inner):
    record = Record(FRAMEWORK)
    for signed in inner:
        record.add_record(signed)
    steps, _ = unverified_steps(inner[0], FRAMEWORK)
    receipt = record.add_step({"type": "receipt", "transfer": steps[2]["id"], **WHEN})
    record.add_step({"type": "process", "inputs": [receipt], **WHEN})
    return record.sign(cap(), NOW + 60)


def encode(step):
    text = step if isinstance(step, bytes) else json.dumps(step, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).decode()


def sign_by_hand(elements, certificate=None, at=NOW, version=0, framework=FRAMEWORK, key=None):
    """A record around any elements, signed outside the code under test."""
    chain, key_pem = certificate or hand_certificate()
    signer = Signer(chain, key_pem)
    time = instant.text(at)

    def flatten(parts):
        for part in parts:
            if isinstance(part, list):
                yield "%"
                yield from flatten(part)
                yield "&"
            else:
                yield str(part)

    data = ".".join([framework, *flatten(elements), str(version), signer.serial, time]).encode()
    private_key: Any = key or serialization.load_pem_private_key(key_pem, None)
    signature = private_key.sign(data, ec.ECDSA(hashes.SHA256()))
    origins = []

    def gather(parts):
        for part in parts:
            if isinstance(part, list):
                gather(part[:-1])
                continue
            try:
                step = json.loads(base64.urlsafe_b64decode(part))
                if step["type"] == "origin":
                    origins.append(step["id"])
            except Exception:  # the step is spoiled on purpose
                continue

    gather(elements)
    return {
        "ib1:provenance": framework,
        "origins": origins,
        "steps": [*elements, [version, signer.serial, time, base64.urlsafe_b64encode(signature).decode()]],
        "certificates": dict(signer.certificates),
    }


_hand = []


def hand_certificate():
    if not _hand:
        _hand.append(signing_authority().member("edp", EDP_ROLE))
    return _hand[0]


def origin_step(**changes):
    step = {"id": "origin-1", "timestamp": instant.text(NOW), "type": "origin", "scheme": "s"}
    step.update(changes)
    return step


# What is made


def test_a_record_has_the_container_of_the_specification():
    record = edp_signed()
    assert list(record) == ["ib1:provenance", "origins", "steps", "certificates"]
    assert record["ib1:provenance"] == FRAMEWORK
    *steps, (version, serial, time, signature) = record["steps"]
    decoded = [json.loads(base64.urlsafe_b64decode(step)) for step in steps]
    assert [step["type"] for step in decoded] == ["permission", "origin", "transfer"]
    assert record["origins"] == [decoded[1]["id"]]
    assert all(list(step)[:3] == ["id", "timestamp", "type"] for step in decoded)
    assert all(len(base64.urlsafe_b64decode(step["id"])) == 15 for step in decoded)
    assert (version, serial, time) == (0, edp().serial, "2026-03-12T09:30:00Z")
    utils.decode_dss_signature(base64.urlsafe_b64decode(signature))
    issuer = str(signing_authority().issuer.serial_number)
    assert [entry[1:] for entry in record["certificates"].values()] == [[issuer], []]
    assert json.loads(json.dumps(record)) == record


def test_steps_are_ascii_and_compact():
    record = Record(FRAMEWORK)
    record.add_step({**ORIGIN, "note": "café"})
    text = base64.urlsafe_b64decode(record.sign(edp(), NOW)["steps"][0]).decode()
    assert text.isascii()
    assert ": " not in text
    assert "caf\\u00e9" in text


def test_verified_steps_say_who_signed():
    steps = read(cap_signed(edp_signed()))
    parties = [
        {
            "member": f"{DIRECTORY}/m/{name}",
            "name": f"{name.upper()} Limited",
            "application": f"{DIRECTORY}/a/{name}",
            "roles": [role],
        }
        for name, role in (("edp", EDP_ROLE), ("cap", CAP_ROLE))
    ]
    assert [step["type"] for step in steps] == ["permission", "origin", "transfer", "receipt", "process"]
    for step in steps[:3]:
        assert step["_signature"] == {
            "signed": parties[0],
            "includedBy": [parties[1]],
            "timestamp": instant.text(NOW),
        }
    for step in steps[3:]:
        assert step["_signature"] == {"signed": parties[1], "includedBy": [], "timestamp": instant.text(NOW + 60)}


def test_records_nest_in_records_and_merge():
    first, second = edp_signed(), edp_signed()
    merged = cap_signed(first, second)
    assert merged["origins"] == first["origins"] + second["origins"]
    outer = Record(FRAMEWORK)
    outer.add_record(merged)
    steps = read(outer.sign(edp(), NOW + 120))
    assert [len(step["_signature"]["includedBy"]) for step in steps] == [2] * 6 + [1] * 2


def test_the_signature_may_be_r_and_s_side_by_side():
    record = edp_signed()
    block = record["steps"][-1]
    r, s = utils.decode_dss_signature(base64.urlsafe_b64decode(block[3]))
    block[3] = base64.urlsafe_b64encode(r.to_bytes(32) + s.to_bytes(32)).decode()
    assert len(read(record)) == 3


def test_a_certificate_that_has_expired_since_still_counts():
    signer = signing_authority().signer("edp", EDP_ROLE, valid=(-60, -30))
    assert read(edp_signed(NOW - 40 * DAYS, signer))
    with pytest.raises(ProvenanceError, match="time of signing: a certificate has expired"):
        read(edp_signed(NOW, signer))
    with pytest.raises(ProvenanceError, match="time of signing: a certificate is not yet valid"):
        read(edp_signed(NOW - 61 * DAYS, signer))


def test_unverified_steps_tell_the_last_signers_from_all():
    own, every = unverified_steps(cap_signed(edp_signed()), FRAMEWORK)
    assert [step["type"] for step in own] == ["receipt", "process"]
    assert len(every) == 5


def test_certificates_that_no_signature_needs_go_no_further():
    record = edp_signed()
    record["certificates"]["12345"] = ["anything"]
    assert "12345" not in cap_signed(record)["certificates"]


# What cannot be made


@pytest.mark.parametrize(
    "step",
    [
        pytest.param({**ORIGIN, "id": "mine"}, id="its own id"),
        pytest.param({**ORIGIN, "_note": 1}, id="a reserved member"),
        pytest.param({"type": "origin"}, id="no timestamp"),
        pytest.param({**ORIGIN, "timestamp": "today"}, id="not a time"),
        pytest.param({**ORIGIN, "timestamp": "2026-03-12"}, id="a date alone"),
        pytest.param({**WHEN}, id="no type"),
        pytest.param({**ORIGIN, "type": "gift"}, id="unknown type"),
        pytest.param({**ORIGIN, "value": float("nan")}, id="not a number"),
        pytest.param({**ORIGIN, "value": {1, 2}}, id="not JSON"),
        pytest.param({**ORIGIN, "permissions": ["nobody"]}, id="unknown permission"),
        pytest.param({**ORIGIN, "permissions": "p"}, id="permissions as text"),
        pytest.param({"type": "transfer", **WHEN}, id="a transfer of nothing"),
        pytest.param({"type": "receipt", "transfer": "nothing", **WHEN}, id="a receipt for nothing"),
        pytest.param({**ORIGIN, "note": "x" * MAX_STEP_CHARACTERS}, id="too long"),
    ],
)
def test_a_step_is_refused_before_it_is_signed(step):
    with pytest.raises(ProvenanceError):
        Record(FRAMEWORK).add_step(step)


def test_a_record_needs_an_origin():
    record = Record(FRAMEWORK)
    record.add_step(PERMISSION)
    with pytest.raises(ProvenanceError, match="origin"):
        record.sign(edp(), NOW)


def test_a_record_of_another_framework_is_not_added():
    with pytest.raises(ProvenanceError, match="trust framework"):
        Record(f"{FRAMEWORK}/other").add_record(edp_signed())


def test_a_record_is_added_once():
    record, signed = Record(FRAMEWORK), edp_signed()
    record.add_record(signed)
    with pytest.raises(ProvenanceError, match="same id"):
        record.add_record(signed)


def test_two_certificates_of_one_serial_do_not_share_a_record():
    record = Record(FRAMEWORK)
    record.add_record(edp_signed(signer=signing_authority().signer("edp", EDP_ROLE, serial=4711)))
    with pytest.raises(ProvenanceError, match="serial"):
        record.sign(signing_authority().signer("cap", CAP_ROLE, serial=4711), NOW)


@pytest.mark.parametrize("case", ["another key", "no key", "issuer first", "stranger's issuer", "no certificate"])
def test_a_signer_must_fit_together(case):
    authority = signing_authority()
    chain, key = authority.member("edp", EDP_ROLE)
    _, other_key = authority.member("cap", CAP_ROLE)
    leaf, issuer = chain.split(b"-----END CERTIFICATE-----\n")[:2]
    end = b"-----END CERTIFICATE-----\n"
    stranger = SigningAuthority("Stranger").issuer.public_bytes(serialization.Encoding.PEM)
    chain, key = {
        "another key": (chain, other_key),
        "no key": (chain, b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"),
        "issuer first": (issuer + end + leaf + end, key),
        "stranger's issuer": (leaf + end + stranger, key),
        "no certificate": (b"", key),
    }[case]
    with pytest.raises((ProvenanceError, MalformedCertificate)):
        Signer(chain, key)


# What is not believed


def _with_step(index, **changes):
    def spoil(record):
        step = json.loads(base64.urlsafe_b64decode(record["steps"][index]))
        record["steps"][index] = encode({**step, **changes})

    return spoil


def _block(index, value):
    def spoil(record):
        record["steps"][-1][index] = value

    return spoil


def _set(name, value):
    def spoil(record):
        record[name] = value

    return spoil


def _leaf_entry(change):
    def spoil(record):
        entry = record["certificates"][record["steps"][-1][1]]
        entry[:] = change(entry)

    return spoil


def _flip_signature(record):
    signature = bytearray(base64.urlsafe_b64decode(record["steps"][-1][3]))
    signature[-1] ^= 1
    record["steps"][-1][3] = base64.urlsafe_b64encode(bytes(signature)).decode()


def _file_under_another_serial(record):
    serial = record["steps"][-1][1]
    record["certificates"]["99"] = record["certificates"].pop(serial)
    record["steps"][-1][1] = "99"


def _superfluous_issuer(record):
    other = SigningAuthority("Other").issuer
    serial = str(other.serial_number)
    record["certificates"][serial] = [other.public_bytes(serialization.Encoding.PEM).decode()]
    record["certificates"][record["steps"][-1][1]].append(serial)


SPOILED = {
    "another top-level member": _set("note", 1),
    "no certificates": lambda record: record.pop("certificates"),
    "no origins": lambda record: record.pop("origins"),
    "another framework": _set("ib1:provenance", "https://registry.example/trust-framework"),
    "framework a list": _set("ib1:provenance", [FRAMEWORK]),
    "origins empty": _set("origins", []),
    "origins twice": lambda record: record["origins"].append(record["origins"][0]),
    "origins text": _set("origins", "x"),
    "steps an object": _set("steps", {}),
    "steps empty": _set("steps", []),
    "signature alone": lambda record: record.update(steps=record["steps"][-1:]),
    "signature missing": lambda record: record["steps"].pop(),
    "signature first": lambda record: record["steps"].reverse(),
    "a step left out": lambda record: record["steps"].pop(2),
    "a step twice": lambda record: record["steps"].insert(0, record["steps"][0]),
    "steps swapped": lambda record: record["steps"].__setitem__(slice(0, 2), record["steps"][1::-1]),
    "a step changed": _with_step(2, to="https://elsewhere.example/m/1"),
    "a number for a step": lambda record: record["steps"].insert(0, 0),
    "null for a step": lambda record: record["steps"].insert(0, None),
    "an empty step": lambda record: record["steps"].insert(0, ""),
    "an empty nested list": lambda record: record["steps"].insert(0, []),
    "a full stop in a step": lambda record: record["steps"].__setitem__(0, ".".join(record["steps"][:2])),
    "a step wrapped in a list": lambda record: record["steps"].__setitem__(0, [record["steps"][0]]),
    "version 1": _block(0, 1),
    "version false": _block(0, False),
    "version as text": _block(0, "0"),
    "version 0.0": _block(0, 0.0),
    "serial a number": lambda record: _block(1, int(record["steps"][-1][1]))(record),
    "serial with a zero before it": lambda record: _block(1, "0" + record["steps"][-1][1])(record),
    "serial unknown": _block(1, "4711"),
    "serial below zero": _block(1, "-1"),
    "serial in other digits": _block(1, "١٢"),
    "time changed": _block(2, "2026-03-12T09:30:01Z"),
    "time spelled otherwise": _block(2, "2026-03-12T10:30:00+01:00"),
    "time a number": _block(2, NOW),
    "time that never was": _block(2, "2026-02-31T09:30:00Z"),
    "signature changed": _flip_signature,
    "signature empty": _block(3, ""),
    "signature null": _block(3, None),
    "signature not DER": _block(3, encode(b"\x30\x03\x02\x01\x01")),
    "signature of 64 zeros": _block(3, encode(bytes(64))),
    "signature not Base64": _block(3, "!!!!"),
    "signature with more padding": lambda record: _block(3, record["steps"][-1][3] + "=")(record),
    "five values in a signature": lambda record: record["steps"][-1].append(0),
    "certificates a list": _set("certificates", []),
    "certificates empty": _set("certificates", {}),
    "leaf entry empty": _leaf_entry(lambda entry: []),
    "leaf not PEM": _leaf_entry(lambda entry: ["MIIB", *entry[1:]]),
    "leaf a number": _leaf_entry(lambda entry: [1, *entry[1:]]),
    "leaf twice in one text": _leaf_entry(lambda entry: [entry[0] * 2, *entry[1:]]),
    "issuer not named": _leaf_entry(lambda entry: entry[:1]),
    "issuer unknown": _leaf_entry(lambda entry: [entry[0], "4711"]),
    "issuer a number": _leaf_entry(lambda entry: [entry[0], int(entry[1])]),
    "issuer many times": _leaf_entry(lambda entry: [entry[0], *entry[1:] * 20]),
    "leaf under another serial": _file_under_another_serial,
    "an issuer that the chain does not need": _superfluous_issuer,
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_record_is_refused(spoil):
    record = copy.deepcopy(edp_signed())
    read(record)
    spoil(record)
    with pytest.raises(ProvenanceError):
        read(record)


SPOILED_INSIDE = {
    "inner step changed": lambda inner: inner.__setitem__(0, encode({**PERMISSION, "id": "another"})),
    "inner time changed": lambda inner: inner[-1].__setitem__(2, "2026-03-12T09:29:59Z"),
    "inner signer changed": lambda inner: inner[-1].__setitem__(1, cap().serial),
    "inner signature left out": lambda inner: inner.pop(),
    "inner version": lambda inner: inner[-1].__setitem__(0, 1),
}


@pytest.mark.parametrize("spoil", SPOILED_INSIDE.values(), ids=SPOILED_INSIDE.keys())
def test_a_record_spoiled_inside_is_refused_even_when_signed_around(spoil):
    inner = copy.deepcopy(edp_signed())
    spoil(inner["steps"])
    outer = sign_by_hand([inner["steps"], encode(origin_step())], signing_authority().member("cap", CAP_ROLE))
    outer["certificates"].update(inner["certificates"])
    outer["origins"] = inner["origins"] + ["origin-1"]
    with pytest.raises(ProvenanceError):
        read(outer)


PROPERLY_SIGNED_BUT_WRONG = {
    "an underscore": [origin_step(_signature={"signed": {}})],
    "no id": [origin_step(id=None)],
    "an empty id": [origin_step(id="")],
    "a long id": [origin_step(id="x" * 500)],
    "an id twice": [origin_step(), origin_step(type="permission")],
    "an unknown type": [origin_step(), origin_step(id="2", type="gift")],
    "type a list": [origin_step(), origin_step(id="2", type=["origin"])],
    "no timestamp": [origin_step(timestamp=None)],
    "a later step referred to": [origin_step(permissions=["p"]), origin_step(id="p", type="permission")],
    "itself referred to": [origin_step(), origin_step(id="2", type="transfer", of="2")],
    "a permission as input": [
        origin_step(id="p", type="permission"),
        origin_step(),
        origin_step(id="2", type="process", inputs=["p"]),
    ],
    "an origin as permission": [origin_step(), origin_step(id="2", permissions=["origin-1"])],
    "a receipt of an origin": [origin_step(), origin_step(id="2", type="receipt", transfer="origin-1")],
    "a reference that is a list": [origin_step(), origin_step(id="2", type="transfer", of=["origin-1"])],
    "permissions an object": [origin_step(permissions={})],
    "no origin at all": [origin_step(type="permission")],
    "not an object": [origin_step(), [1, 2]],
    "text": [origin_step(), "text"],
    "not JSON": [origin_step(), b"{"],
    "two documents": [origin_step(), b"{} {}"],
    "a member twice": [origin_step(), b'{"id":"2","id":"3","type":"origin","timestamp":"2026-03-12T09:30:00Z"}'],
    "NaN": [origin_step(), b'{"id":"2","type":"permission","timestamp":"2026-03-12T09:30:00Z","n":NaN}'],
    "beyond floats": [origin_step(), b'{"id":"2","type":"permission","timestamp":"2026-03-12T09:30:00Z","n":1e999}'],
    "5,000 digits": [origin_step(), b'{"id":"2","type":"permission","n":' + b"9" * 5000 + b"}"],
    "a lone surrogate": [origin_step(note="\ud800")],
    "not UTF-8": [origin_step(), b'{"id":"\xff"}'],
    "nested deeply": [origin_step(), b'{"n":' * 200 + b"1" + b"}" * 200],
    "nested beyond the parser": [origin_step(), b"[" * 20_000],
    "UTF-16": [origin_step(), json.dumps(origin_step(id="2")).encode("utf-16")],
}


@pytest.mark.parametrize("steps", PROPERLY_SIGNED_BUT_WRONG.values(), ids=PROPERLY_SIGNED_BUT_WRONG.keys())
def test_a_good_signature_does_not_save_a_bad_step(steps):
    assert read(sign_by_hand([encode(origin_step())]))
    with pytest.raises(ProvenanceError):
        read(sign_by_hand([encode(step) for step in steps]))


PADDED = encode(origin_step(note="~~~???>>>", pad="1"))


@pytest.mark.parametrize(
    "element",
    [
        pytest.param(PADDED.rstrip("="), id="padding left out"),
        pytest.param(PADDED + "\n", id="a line end"),
        pytest.param(PADDED.replace("_", "/").replace("-", "+"), id="the other alphabet"),
        pytest.param(PADDED.replace("=", "", 1) + "===", id="too much padding"),
        pytest.param(PADDED[:-2] + chr(ord(PADDED[-2]) + 1) + "=", id="stray bits"),
    ],
)
def test_base64_has_one_spelling(element):
    assert PADDED[-1] == "=" != PADDED[-2]
    assert element != PADDED
    assert read(sign_by_hand([PADDED]))
    with pytest.raises(ProvenanceError, match="Base64"):
        read(sign_by_hand([element]))


def test_a_signature_cannot_be_older_than_what_it_signs():
    inner = edp_signed(NOW + 1000)
    outer = Record(FRAMEWORK)
    outer.add_record(inner)
    with pytest.raises(ProvenanceError, match="older"):
        read(outer.sign(cap(), NOW))


def test_an_issuer_that_cannot_be_read_is_refused():
    record = edp_signed()
    _, issuer = record["certificates"][record["steps"][-1][1]]
    record["certificates"][issuer] = ["-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n"]
    with pytest.raises(ProvenanceError, match="issuer's certificate cannot be read"):
        read(record)


def test_another_root_is_not_ours():
    stranger = SigningAuthority("Test Signing")
    with pytest.raises(ProvenanceError, match="no valid chain"):
        read(edp_signed(signer=stranger.signer("edp", EDP_ROLE)))


def test_another_keys_signature_is_refused():
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(ProvenanceError, match="does not fit"):
        read(sign_by_hand([encode(origin_step())], key=key))


def test_a_record_signed_for_another_framework_is_refused():
    record = sign_by_hand([encode(origin_step())], framework=f"{FRAMEWORK}/other")
    record["ib1:provenance"] = FRAMEWORK
    with pytest.raises(ProvenanceError, match="does not fit"):
        read(record)


@pytest.mark.parametrize("depth", [provenance.MAX_NESTED_LISTS + 1, 5_000])
def test_lists_nested_too_deeply_are_refused(depth):
    steps = ["AAAA", [0, "1", "2026-03-12T09:30:00Z", "AAAA"]]
    for _ in range(depth):
        steps = [steps, [0, "1", "2026-03-12T09:30:00Z", "AAAA"]]
    with pytest.raises(ProvenanceError, match="nested"):
        read({"ib1:provenance": FRAMEWORK, "origins": [], "steps": steps, "certificates": {}})


@pytest.mark.parametrize(
    ("limit", "value"),
    [("MAX_STEPS", 2), ("MAX_RECORD_CHARACTERS", 600), ("MAX_SIGNATURES", 1), ("MAX_CERTIFICATES", 1)],
)
def test_limits_hold(monkeypatch, limit, value):
    record = cap_signed(edp_signed())
    read(record)
    monkeypatch.setattr(provenance, limit, value)
    with pytest.raises(ProvenanceError):
        read(record)


# Whatever comes

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["AAAA", "0", "e30="]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


def refuses_or_reads(record):
    with contextlib.suppress(ProvenanceError):
        read(record)


@settings(deadline=None)
@given(json_values)
def test_whatever_comes_only_provenance_errors_go(value):
    refuses_or_reads(value)


@settings(deadline=None)
@given(st.fixed_dictionaries({"origins": json_values, "steps": json_values, "certificates": json_values}))
def test_whatever_fills_a_container_only_provenance_errors_go(members):
    refuses_or_reads({"ib1:provenance": FRAMEWORK, **members})


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(member, (*path, key))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_replaces_a_part_of_a_good_record_it_is_refused(data):
    record = copy.deepcopy(_good)
    path = data.draw(st.sampled_from([path for path in places(record) if path]))
    *way, last = path
    holder = record
    for key in way:
        holder = holder[key]
    before = holder[last]
    holder[last] = data.draw(json_values)
    if holder[last] == before and type(holder[last]) is type(before):
        return
    with pytest.raises(ProvenanceError):
        read(record)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_whatever_a_step_holds_only_provenance_errors_go(content):
    refuses_or_reads(sign_by_hand([encode(origin_step()), encode(content)]))


@settings(deadline=None)
@given(json_values)
def test_whatever_json_a_step_is_only_provenance_errors_go(value):
    step = origin_step(id="2") | value if isinstance(value, dict) else value
    refuses_or_reads(sign_by_hand([encode(origin_step()), encode(step)]))


_good = cap_signed(edp_signed())
