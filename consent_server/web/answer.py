"""The response to a program."""

from collections.abc import Iterable
from typing import Any, Final

from flask import Response

JSON: Final = "application/json"


class Answer(Response):
    """A response that has its whole body, and is no redirect; `more` are headers beside its type and length.

    Of any other, werkzeug copies the headers to complete a redirect's address and to add the length.
    """

    def __init__(self, body: bytes, status: int, *more: tuple[str, str]) -> None:
        super().__init__(body, status, content_type=JSON)
        self._more = more

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(self.status, [*self.headers, *self._more])
        return () if environ["REQUEST_METHOD"] == "HEAD" else self.iter_encoded()
