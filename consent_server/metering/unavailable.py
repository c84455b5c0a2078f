"""What a source raises that cannot be asked."""

from typing import ClassVar

from consent_server.refusal import Refusal


class SourceUnavailable(Refusal):
    """The register or the readings cannot be asked, or returned what they may not. A plug-in raises it too."""

    code = "metering_unavailable"
    error = "temporarily_unavailable"
    status = 503
    public = "The meters cannot be looked up just now; nothing was changed. Try again after the time in Retry-After."
    help = "The energy provider's own meter register or readings do not respond at present. Try again later."
    clause = "RFC 9110 15.6.4"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60"}
