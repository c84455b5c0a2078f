"""A certificate of deletion: what was deleted for a business, when and by whom, signed so that it can be verified for years.

It names no business, no person and no meter. It has ids of permissions, tables, numbers of rows, and for each table a keyed
digest of its rows, against which nobody without the key can try values.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from cryptography import x509

from consent_server.scheme import instant, signed_document
from consent_server.scheme.provenance.container import Signer
from consent_server.scheme.signed_document import DocumentFault, DocumentKind


class ErasedRows(NamedTuple):
    """Rows of one table that were deleted or emptied, and their HMAC-SHA-256 in hex."""

    table: str
    rows: int
    hmac_sha256: str


class KeptRows(NamedTuple):
    """Rows of one table that stay, the duty by which they do, and until when (POSIX seconds); None where no day is known."""

    table: str
    rows: int
    duty: str
    until: int | None


class CertifiedDeletion(NamedTuple):
    """What a certificate says. `by` is who acted for the member, and `withdrawn` the permissions that ended by it."""

    id: str
    at: int
    by: str
    withdrawn: Sequence[str]
    erased: Sequence[ErasedRows]
    kept: Sequence[KeptRows]


def certificate(deletion: CertifiedDeletion, signer: Signer) -> dict[str, str]:
    """Return the signed certificate."""
    kept = [row._asdict() | {"until": None if row.until is None else instant.text(row.until)} for row in deletion.kept]
    made = {
        "member": signer.member,
        "certificate": deletion.id,
        "time": instant.text(deletion.at),
        "by": deletion.by,
        "withdrawn": list(deletion.withdrawn),
        "erased": [row._asdict() for row in deletion.erased],
        "kept": kept,
    }
    return signed_document.sign(made, KIND, signer)


def verify(text: bytes, root: x509.Certificate, now: int) -> dict[str, Any]:
    """Return what a certificate says, whose signer's chain led to `root` when it was made. Raise DocumentFault."""
    found = signed_document.verify(text, KIND, root, now)
    shapes = {"certificate": str, "by": str, "withdrawn": list, "erased": list, "kept": list}
    if any(type(found.get(name)) is not shape for name, shape in shapes.items()):
        raise DocumentFault("form", "it does not say what was deleted")
    rows = [*found["erased"], *found["kept"]]
    if not all(
        isinstance(row, dict) and isinstance(row.get("table"), str) and type(row.get("rows")) is int for row in rows
    ):
        raise DocumentFault("form", "it does not say of which tables rows were deleted")
    return found


KIND: Final = DocumentKind("deletion-certificate+jws", "application/json")
