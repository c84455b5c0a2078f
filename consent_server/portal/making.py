"""When a report is made: a few at once in each process, one at a time for each account, and no more than its budget.

Making one takes half a second of processor time in a separate process. An account that asks for many delays only itself.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, TypeVar

from consent_server.deployment import current
from consent_server.documents import making
from consent_server.documents.apart import OutOfBounds
from consent_server.documents.making import GivenReport
from consent_server.outbound.errors import Unreachable
from consent_server.portal.bank_report import BankReport
from consent_server.refusal import Unavailable
from consent_server.scheme import instant

T = TypeVar("T")

log = logging.getLogger("consent_server.portal")

#: Reports that are made at once in this process, and accounts that may wait for that.
MOST: Final = 2
MOST_IN_LINE: Final = 16
#: Seconds in line.
LONGEST_S: Final = 10

_places: Final = threading.BoundedSemaphore(MOST)
_accounts: Final[set[str]] = set()
_lock: Final = threading.Lock()


class ReportBusy(Unavailable):
    code = "report_busy"
    public = "A report of this account is being made already, or too many are; try again after the time in Retry-After."
    help = (
        "Wait for the number of seconds in Retry-After and ask again. Only one report is made for an account at a time."
    )
    clause = "RFC 9110 15.6.4; ASVS 15.2.2"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "10"}


def signed_pdf(found: BankReport) -> bytes:
    """Return the PDF of a report. Raise SigningCertificateNotValid, Unavailable."""
    here = current()
    signer = here.valid_signer(instant.parse(found.data.at))
    return _made(lambda: making.pdf_of(_given(found), signer, _stamp, here.timestamp_roots))


def _stamp(request: bytes) -> bytes:
    try:
        return current().timestamps.respond(request)
    except Unreachable as fault:  # the report is made without, and says so
        log.warning("no timestamp: %s", fault)
        return b""


def words(found: BankReport) -> dict[str, Any]:
    """Return the words of a report, those of its PDF (`documents.words.as_json()`). Raise Unavailable."""
    return _made(lambda: making.page_of(_given(found)))


def _given(found: BankReport) -> GivenReport:
    here = current()
    return GivenReport(found.data, found.record, here.signing_root, here.settings.scheme.trust_framework)


def _made(make: Callable[[], T]) -> T:
    try:
        return make()
    except OutOfBounds as error:
        raise Unavailable(f"report: {error}") from None


@contextmanager
def place(account: str) -> Iterator[None]:
    """Wait in line for one of the places in which reports are made. Raise ReportBusy."""
    with _lock:
        if account in _accounts or len(_accounts) >= MOST + MOST_IN_LINE:
            raise ReportBusy(account)
        _accounts.add(account)
    try:
        if not _places.acquire(timeout=LONGEST_S):
            raise ReportBusy(account)
        try:
            yield
        finally:
            _places.release()
    finally:
        with _lock:
            _accounts.discard(account)
