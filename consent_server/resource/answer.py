"""What a data call returns: plain values, which the view turns into a response."""

from dataclasses import dataclass, field

import orjson


@dataclass(frozen=True)
class Answer:
    """`body` in pieces, of which day blocks may be packed (scheme.packed); `headers` besides Content-Type."""

    body: list[bytes] = field(repr=False)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def not_yet(retry_after: int) -> Answer:
    """Return 202: the data are still being collected (consumption and emissions data APIs)."""
    message = {"message": f"The data are still being collected. Ask again after {retry_after} seconds."}
    return Answer([orjson.dumps(message)], 202, {"Retry-After": str(retry_after)})
