"""The signed consent receipt of one permission or connection (scheme.consent_receipt)."""

from functools import lru_cache
from typing import Final

import orjson

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.receipts import receipt
from consent_server.receipts.receipt import Given, Receipt
from consent_server.scheme import consent_receipt
from consent_server.scheme.consent_receipt import Consent
from consent_server.scheme.provenance.container import Signer
from consent_server.store import evidence, links
from consent_server.store.tables.permissions import Evidence
from consent_server.web import language

#: Where a business sees its permissions and withdraws: at an EDP by its bill or log-in, at a CAP in its account.
WITHDRAWAL: Final = {"edp": "/manage", "cap": "/permissions"}
#: The name under which a browser keeps it.
FILE_NAME: Final = "consent-receipt.json"
#: Seconds for which a signed receipt is given out again, unless the permission has changed.
SIGNED_EVERY_S: Final = 60


def signed(subject: str) -> bytes | None:
    """Return the receipt as JSON, with the state of this moment; None for an unknown permission.

    It is signed once for each state and minute: an HSM makes one signature at a time, and whoever has a link may ask in a loop.
    Raise SigningCertificateNotValid, Unavailable.
    """
    at = clock.now()
    with store.reading() as c:
        about, seen = receipt.find(c, subject, at), evidence.of_subject(c, subject)
        row = links.find(c, subject)
    if about is None or seen is None or row is None:
        return None
    with language.speaking(language.ENGLISH):  # a record: the same whoever asks for it
        consent = _consent(about, seen, row.member, row.license)
    # No receipt is older than what it says.
    made = max(at // SIGNED_EVERY_S * SIGNED_EVERY_S, consent.granted, consent.ended or 0)
    return _signed(consent, made, current().valid_signer(at))


@lru_cache(maxsize=64)
def _signed(consent: Consent, at: int, signer: Signer) -> bytes:
    return orjson.dumps(consent_receipt.sign(consent_receipt.document(consent, at), signer))


def _consent(about: Receipt, seen: Evidence, other: str, license_url: str) -> Consent:
    ours, brand = current().settings.member.url, current().settings.brand
    connected = about.given is Given.CONNECTION
    return Consent(
        identifier=about.subject,
        publisher=ours,
        business=about.business,
        controller=ours if connected else other,
        controller_name=brand if connected else about.other,
        source=other if connected else ours,
        data=about.what,
        meters=tuple(about.meter_names),
        license=license_url,
        text=seen.text_shown,
        text_sha256=seen.shown_sha256,
        granted=about.granted,
        expires=about.expires,
        state=about.state,
        ended=about.ended,
        how=seen.who["method"],
        withdrawal=current().settings.public.origin + WITHDRAWAL[current().settings.party],
    )
