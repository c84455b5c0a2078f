"""How a rule book is run: small named checks in order, each answering with a refusal or with nothing."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from consent_server.refusal import Refusal

Asked = TypeVar("Asked")


def verdict(checks: Iterable[Callable[[Asked], Refusal | None]], asked: Asked) -> Refusal | None:
    """The first refusal, as a value; None when every check passes."""
    for check in checks:
        refusal = check(asked)
        if refusal is not None:
            return refusal
    return None


def require(checks: Iterable[Callable[[Asked], Refusal | None]], asked: Asked) -> None:
    """Raise the first refusal."""
    refusal = verdict(checks, asked)
    if refusal is not None:
        raise refusal
