"""The signature of a PDF: CMS as PAdES requires (ETSI EN 319 142-1, B-B, or B-T with a timestamp), with a member's certificate.

It covers the whole file, and the file says that no change after it is allowed.
"""

import asyncio
import io
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from asn1crypto import x509
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import signers
from pyhanko.sign.fields import InvisSigSettings, MDPPerm, SigFieldSpec, SigSeedSubFilter
from pyhanko_certvalidator.registry import SimpleCertificateStore

from consent_server.documents.timestamps import Stamper

FIELD: Final = "Signature"
FIELD_SAYS: Final = "Signature of the carbon accounting provider"
_ALGORITHM: Final = "sha256"
#: Of an ECDSA signature on P-256 in DER, at most.
_SIGNATURE_BYTES: Final = 72
#: Of a signature with its certificates and a timestamp with those of its authority.
_STAMPED_BYTES: Final = 24 * 1024


class FileSigner(Protocol):
    """A member, its certificate and then the issuers in DER, and a signature with its key (ECDSA with SHA-256, in DER)."""

    member: str
    chain: tuple[bytes, ...]

    def sign(self, data: bytes) -> bytes: ...


def signed(unsigned: bytes, signer: FileSigner, at: int, stamper: Stamper | None = None) -> bytes:
    """Return a PDF with the signature of a member, made at the instant `at`. Raise NotStamped where a stamper has no stamp.

    It runs an event loop of its own, so it has no place in a process that gevent serves: `making.pdf_of()` has.
    """
    out = io.BytesIO()
    work = _DatedSigner(
        signers.PdfSignatureMetadata(
            field_name=FIELD,
            md_algorithm=_ALGORITHM,
            name=signer.member,
            subfilter=SigSeedSubFilter.PADES,
            certify=True,
            docmdp_permissions=MDPPerm.NO_CHANGES,
        ),
        _MemberSigner(signer),
        timestamper=stamper,
        # Invisible to PDF/UA (7.18.1) outside the page, and with the print flag, as PDF/A requires (ISO 19005-3, 6.3.2).
        new_field_spec=SigFieldSpec(
            FIELD,
            invis_sig_settings=InvisSigSettings(box_out_of_bounds=True),
            readable_field_name=FIELD_SAYS,
        ),
    )
    work.at = datetime.fromtimestamp(at, UTC)
    # Otherwise a first stamp is asked for, to see how large one is.
    reserved = None if stamper is None else 2 * _STAMPED_BYTES
    writer = IncrementalPdfFileWriter(io.BytesIO(unsigned))
    asyncio.run(work.async_sign_pdf(writer, bytes_reserved=reserved, output=out))
    return out.getvalue()


class _DatedSigner(signers.PdfSigner):
    """Signs at a given instant."""

    at: datetime

    def init_signing_session(self, *args: Any, **options: Any) -> Any:
        session = super().init_signing_session(*args, **options)
        session.system_time = self.at
        return session


class _MemberSigner(signers.Signer):
    """Signs with a FileSigner, which keeps its key."""

    def __init__(self, signer: FileSigner) -> None:
        leaf, *issuers = (x509.Certificate.load(der) for der in signer.chain)
        known = SimpleCertificateStore()  # type: ignore[no-untyped-call]
        known.register_multiple(issuers)
        super().__init__(signing_cert=leaf, cert_registry=known, embed_roots=False)
        self._signer = signer

    async def async_sign_raw(self, data: bytes, digest_algorithm: str, dry_run: bool = False) -> bytes:
        return bytes(_SIGNATURE_BYTES) if dry_run else self._signer.sign(data)
