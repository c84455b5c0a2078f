"""The refusal that a source raises when it is unavailable."""

from typing import Any, ClassVar, Final

from consent_server.refusal import Unavailable

_LONGEST: Final = 300


class SourceUnavailable(Unavailable):
    """The register or the readings cannot be asked, or returned what they may not. A plug-in raises it too.

    `said` is the source's own message, of which the first line is kept. It may repeat a value or an account, so no log has it:
    `consent-server metering check` shows it to the operator.
    """

    code = "metering_unavailable"
    public = "The meters cannot be looked up just now; nothing was changed. Try again after the time in Retry-After."
    help = "The energy provider's own meter register or readings do not respond at present. Try again later."
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60"}

    def __init__(self, private: str = "", *, said: str = "", **more: Any) -> None:
        super().__init__(private, **more)
        line = said.strip().partition("\n")[0]
        self.said = "".join(filter(str.isprintable, line))[:_LONGEST]
