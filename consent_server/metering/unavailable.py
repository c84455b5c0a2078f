"""The refusal that a source raises when it is unavailable."""

from typing import ClassVar

from consent_server.refusal import Unavailable


class SourceUnavailable(Unavailable):
    """The register or the readings cannot be asked, or returned what they may not. A plug-in raises it too."""

    code = "metering_unavailable"
    public = "The meters cannot be looked up just now; nothing was changed. Try again after the time in Retry-After."
    help = "The energy provider's own meter register or readings do not respond at present. Try again later."
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60"}
