import dataclasses
import hashlib

import pytest

from consent_server.scheme import instant, licenses, roles
from consent_server.scheme.licenses import ELECTRICITY, GAS, License

REGISTRY = "https://registry.core.sandbox.trust.ib1.org/scheme/perseus"
URL = f"{REGISTRY}/license/energy-consumption-edp-cap/2026-03-12"
SHA = hashlib.sha256(b"the text").hexdigest()

# Digest and duration


def test_digest_is_over_the_raw_bytes():
    assert licenses.digest(b"a\r\n") == hashlib.sha256(b"a\r\n").hexdigest()
    assert licenses.digest("“we”") == hashlib.sha256("“we”".encode()).hexdigest()


@pytest.mark.parametrize(
    ("duration", "granted", "expires"),
    [
        ("1 year", "2026-03-12T09:30:00Z", "2027-03-12T09:30:00Z"),
        ("1 year", "2024-02-29T09:30:00Z", "2025-02-28T09:30:00Z"),
        ("2 years", "2026-03-12T09:30:00Z", "2028-03-12T09:30:00Z"),
        ("12 months", "2026-03-12T09:30:00Z", "2027-03-12T09:30:00Z"),
        ("1 month", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"),
        ("30 days", "2026-03-12T09:30:00Z", "2026-04-11T09:30:00Z"),
        ("1 day", "2026-03-12T09:30:00Z", "2026-03-13T09:30:00Z"),
    ],
)
def test_expiry(duration, granted, expires):
    assert instant.text(licenses.expiry(duration, instant.parse(granted))) == expires


@pytest.mark.parametrize(
    "duration", ["", "year", "1", "0 years", "-1 years", "1.5 years", "1  year", "1 week", "1 Year", "1 year\n", "P1Y"]
)
def test_expiry_refuses(duration):
    with pytest.raises(ValueError, match="duration"):
        licenses.expiry(duration, 0)


# Width

EDP_CAP = License(
    url=URL,
    label="energy-consumption-edp-cap",
    text_sha256=SHA,
    fuels=frozenset({ELECTRICITY, GAS}),
    duration="1 year",
    asked_by=roles.CAP,
)
OLDER = dataclasses.replace(EDP_CAP, label="energy-consumption-data", fuels=frozenset({ELECTRICITY}))
COMBINED = dataclasses.replace(EDP_CAP, label=licenses.COMBINED)
EMISSIONS = dataclasses.replace(EDP_CAP, label="emissions-cap-fsp", asked_by=roles.FSP)
UNKNOWN = dataclasses.replace(EDP_CAP, label="water-consumption")


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (EDP_CAP, EDP_CAP, True),
        (EDP_CAP, dataclasses.replace(EDP_CAP, url=URL + "-older"), True),
        (EDP_CAP, OLDER, True),
        (OLDER, EDP_CAP, False),
        (COMBINED, EDP_CAP, True),
        (COMBINED, OLDER, True),
        (EDP_CAP, COMBINED, False),
        (dataclasses.replace(COMBINED, fuels=OLDER.fuels), EDP_CAP, False),
        (COMBINED, EMISSIONS, False),
        (EMISSIONS, EDP_CAP, False),
        (UNKNOWN, EDP_CAP, False),
        (EDP_CAP, UNKNOWN, False),
        (UNKNOWN, UNKNOWN, True),
    ],
)
def test_which_license_takes_the_place_of_which(new, old, expected):
    assert licenses.at_least_as_wide(new, old) is expected


def test_every_label_with_a_known_role_has_known_transfers():
    for label in roles.asks_for:
        assert not licenses.at_least_as_wide(UNKNOWN, dataclasses.replace(EDP_CAP, label=label))
