"""A signature's timestamp (RFC 3161): taken from an authority that the caller trusts, and judged by whoever gets the file."""

import asyncio
import io
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from asn1crypto import keys, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.timestamps import DummyTimeStamper

from consent_server.documents import making, signing, timestamps, verify
from consent_server.documents.data import ReportData, TimestampData, TimestampState
from consent_server.documents.making import GivenReport
from consent_server.documents.verify import NotGenuine
from tests.documents import sample
from tests.documents.sample import NOW, trusted
from tests.scheme.signing import CAP_ROLE, member_signer, signing_authority

URL = "https://time.example.org/tsa"
CAP = member_signer("cap", CAP_ROLE)


class Authority:
    """An authority for time with a root of its own."""

    def __init__(
        self, usage: x509.ObjectIdentifier = x509.oid.ExtendedKeyUsageOID.TIME_STAMPING, at: int = NOW
    ) -> None:
        self.asked = 0
        key, root_key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
        name, root_name = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in ("TSA", "Root"))
        begun = datetime.fromtimestamp(NOW, UTC) - timedelta(days=30)
        plain = x509.CertificateBuilder(
            issuer_name=root_name, not_valid_before=begun, not_valid_after=begun + timedelta(days=60)
        )
        root = plain.subject_name(root_name).public_key(root_key.public_key()).serial_number(1)
        self.root = root.add_extension(x509.BasicConstraints(True, None), True).sign(root_key, hashes.SHA256())
        leaf = plain.subject_name(name).public_key(key.public_key()).serial_number(2)
        made = leaf.add_extension(x509.ExtendedKeyUsage([usage]), True).sign(root_key, hashes.SHA256())
        private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        self._stamper = DummyTimeStamper(
            asn1_x509.Certificate.load(made.public_bytes(Encoding.DER)),
            keys.PrivateKeyInfo.load(private),
            fixed_dt=datetime.fromtimestamp(NOW, UTC),
        )

    def respond(self, request: bytes) -> bytes:
        self.asked += 1
        asked = tsp.TimeStampReq.load(request)
        return (
            asyncio.run_coroutine_threadsafe(self._stamper.async_request_tsa_response(asked), _loop()).result().dump()
        )


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """A loop in a thread of its own: a signature is made in a loop that waits for the authority."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


@cache
def authority() -> Authority:
    return Authority()


@cache
def other() -> Authority:
    """One whose certificate is for something else."""
    return Authority(usage=x509.oid.ExtendedKeyUsageOID.CODE_SIGNING)


def told(state: TimestampState) -> ReportData:
    return sample.report_data().model_copy(update={"timestamp": TimestampData(authority=URL, state=state)})


@cache
def stamped(state: TimestampState = TimestampState.GIVEN) -> bytes:
    return signing.signed(sample.unsigned(told(state)), CAP, NOW, timestamps.Stamper(authority().respond, [], NOW))


def test_a_report_with_a_timestamp() -> None:
    by = authority()
    given = GivenReport(told(TimestampState.ASKED), sample.record(), signing_authority().root, sample.FRAMEWORK)
    file = making.pdf_of(given, CAP, by.respond, [by.root])
    assert by.asked == 1
    found = verify.verify(file, trusted(timestamp_roots=[by.root]), NOW + 60)
    assert (found.stamped_at, found.stamp_trusted) == (NOW, True)
    assert found.data.timestamp == TimestampData(authority=URL, state=TimestampState.GIVEN)
    unknown = verify.verify(file, trusted(), NOW + 60)
    assert (unknown.stamped_at, unknown.stamp_trusted) == (NOW, False)


def test_an_authority_that_is_away_is_named_and_stops_nothing() -> None:
    given = GivenReport(told(TimestampState.ASKED), sample.record(), signing_authority().root, sample.FRAMEWORK)
    found = verify.verify(making.pdf_of(given, CAP, lambda _: b"", [authority().root]), trusted(), NOW + 60)
    assert (found.stamped_at, found.data.timestamp.state) == (None, TimestampState.MISSING)


@pytest.mark.parametrize(
    ("respond", "root"),
    [
        (lambda _: b"<html>", lambda: authority().root),
        (lambda _: tsp.TimeStampResp({"status": {"status": "rejection"}}).dump(), lambda: authority().root),
        (lambda request: authority().respond(request), lambda: other().root),
        (lambda request: other().respond(request), lambda: other().root),
    ],
    ids=["no response", "refused", "another root", "a certificate for something else"],
)
def test_a_response_that_is_not_taken(respond: Callable[[bytes], bytes], root: Callable[[], x509.Certificate]) -> None:
    stamper = timestamps.Stamper(respond, [root()], NOW)
    with pytest.raises(timestamps.NotStamped):
        asyncio.run(stamper.async_timestamp(bytes(32), "sha256"))


@pytest.mark.parametrize(
    ("signed_at", "root", "why"),
    [
        (NOW, lambda: other().root, "no chain"),
        (NOW + 7200, lambda: authority().root, "another time"),
        (NOW - 2 * 86400, lambda: authority().root, "another time"),
    ],
)
def test_a_timestamp_that_does_not_hold(signed_at: int, root: Callable[[], x509.Certificate], why: str) -> None:
    (signature,) = PdfFileReader(io.BytesIO(stamped())).embedded_signatures
    assert timestamps.of_signature(signature.signer_info, [authority().root], NOW) == (NOW, True)
    with pytest.raises(timestamps.NotStamped, match=why):
        timestamps.of_signature(signature.signer_info, [root()], signed_at)


def test_a_timestamp_of_another_signature() -> None:
    """The token is moved to a signature that its authority has not seen."""
    (of_one,), (of_other,) = (
        PdfFileReader(io.BytesIO(file)).embedded_signatures for file in (stamped(), sample.signed())
    )
    moved = of_other.signer_info.copy()
    moved["unsigned_attrs"] = of_one.signer_info["unsigned_attrs"]
    with pytest.raises(timestamps.NotStamped, match="something else"):
        timestamps.of_signature(moved, [authority().root], NOW)


@pytest.mark.parametrize(
    "file",
    [
        lambda: stamped(TimestampState.MISSING),
        lambda: sample.signed(told(TimestampState.GIVEN)),
        lambda: sample.signed(told(TimestampState.ASKED)),
    ],
    ids=["not told", "told and not there", "not signed so"],
)
def test_a_report_that_says_otherwise_of_its_timestamp(file: Callable[[], bytes]) -> None:
    with pytest.raises(NotGenuine) as refused:
        verify.verify(file(), trusted(), NOW + 60)
    assert [each.check for each in refused.value.faults] == ["timestamp"]
