"""What an SME decided, as one value: all that a grant and its evidence are made of."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Decision:
    """An SME's agreement to one permission text.

    `who` says who agreed and how we know: business, name, capacity, method, strength. `names` are the names that the SME
    read: those in the text, and "client", "host" and "license". `code` is the authorization code to issue: see code_for.
    """

    agreed: bool
    sme: str
    who: Mapping[str, str]
    meters: Sequence[Mapping[str, Any]]
    fuels: tuple[str, ...]
    text_shown: str
    shown_sha256: str
    raw_sha256: str
    names: Mapping[str, str]
    address: str
    user_agent: str
    code: str = field(repr=False)


def code_for(journey_id: str, secret: str) -> str:
    """The authorization code of the browser that holds `secret`, 256 bits that cannot be guessed without it.

    It is derived rather than drawn, so that a second click on Allow, whose first answer the browser threw away, can be
    given the very same redirect (one grant, one code) although the store keeps nothing but the code's digest.
    """
    digest = hmac.new(secret.encode(), b"authorization code of " + journey_id.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
