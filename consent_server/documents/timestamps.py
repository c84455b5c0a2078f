"""Timestamps of a signature by an authority for time (RFC 3161), which PAdES calls level B-T (ETSI EN 319 142-1, 6.2).

An authority states that a signature existed at an instant. Its certificate must chain to a root that the caller trusts, must
have been valid then, and must be for timestamps only. Its revocation is not checked.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from asn1crypto import cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.sign.timestamps import TimeStamper
from pyhanko.sign.validation.generic_cms import message_imprint_checker, validate_tst_signed_data
from pyhanko_certvalidator import ValidationContext

from consent_server.scheme.instant import DAY
from consent_server.scheme.provenance.container import CLOCK_SKEW

Imprint = Callable[[str], bytes]
"""The digest of what is stamped, by the name of the hash."""


class NotStamped(ValueError):
    """There is no timestamp, or not one that holds; the message says why."""


class Stamp(NamedTuple):
    """When an authority had seen the signature; `is_trusted` where its chain led to a root that was given."""

    at: int
    is_trusted: bool


def of_signature(signer: cms.SignerInfo, roots: Sequence[x509.Certificate], signed_at: int) -> Stamp | None:
    """Return the timestamp that is in a signature, None where there is none. Raise NotStamped.

    Nothing else may be there: what is not signed, anybody could put in.
    """
    if isinstance(signer["unsigned_attrs"], core.Void) or not len(signer["unsigned_attrs"]):
        return None
    (attribute, *others) = signer["unsigned_attrs"]
    if others or attribute["type"].native != "signature_time_stamp_token" or len(attribute["values"]) != 1:
        raise NotStamped("the signature carries something that it does not cover")
    (token,) = attribute["values"]
    return asyncio.run(judged(token["content"], message_imprint_checker(signer), roots, signed_at))


async def judged(token: cms.SignedData, imprint: Imprint, roots: Sequence[x509.Certificate], signed_at: int) -> Stamp:
    """Return what a timestamp says of what was signed at `signed_at`. Raise NotStamped."""
    told = token["encap_content_info"]["content"].parsed
    if not isinstance(told, tsp.TSTInfo):
        raise NotStamped("it is no timestamp")
    at: datetime = told["gen_time"].native
    stamp = Stamp(int(at.timestamp()), bool(roots))
    known = [asn1_x509.Certificate.load(each.public_bytes(Encoding.DER)) for each in roots]
    context = ValidationContext(trust_roots=known, moment=at, allow_fetching=False)
    status: dict[str, Any] = await validate_tst_signed_data(token, context, imprint)
    if not status["intact"]:
        raise NotStamped("it is of something else")
    if not status["valid"]:
        raise NotStamped("its signature does not hold")
    if roots and (status["validation_path"] is None or status["trust_problem_indic"] is not None):
        raise NotStamped("no chain leads to a root that is trusted for timestamps")
    if not signed_at - CLOCK_SKEW <= stamp.at <= signed_at + DAY:
        raise NotStamped("it is of another time than the signature")
    return stamp


class Stamper(TimeStamper):
    """Has a signature of the instant `at` stamped: `ask` returns the response to a request (RFC 3161, in DER), empty where
    there is none."""

    def __init__(self, ask: Callable[[bytes], bytes], roots: Sequence[x509.Certificate], at: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ask, self._roots, self._at = ask, roots, at

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        answer = self._ask(req.dump())
        if not answer:
            raise NotStamped("the authority could not be reached")
        return tsp.TimeStampResp.load(answer, strict=True)

    async def async_timestamp(self, message_digest: bytes, md_algorithm: str) -> cms.ContentInfo:
        """Return a timestamp that holds. Raise NotStamped."""
        try:
            token = await super().async_timestamp(message_digest, md_algorithm)
            await judged(
                token["content"], lambda name: message_digest if name == md_algorithm else b"", self._roots, self._at
            )
        except NotStamped:
            raise
        except Exception as error:  # whatever the libraries raise on a hostile answer
            raise NotStamped(type(error).__name__) from error
        return token
