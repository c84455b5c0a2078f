"""The Refusal family: every error response of the server.

A refusal has everything that a response needs: its own code (the name of its help page), the OAuth error code,
the HTTP status, one public sentence and one private detail. Rooms define theirs beside the check that raises them;
views never choose a status. One handler, in `web`, turns a refusal into JSON, a redirect or a page.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, TypeVar
from urllib.parse import urlencode, urlsplit, urlunsplit

Asked = TypeVar("Asked")

# RFC 6749 section 5.2 excludes the quotation mark and the backslash from error_description, and all but ASCII.
_WIRE_SAFE = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")


class Refusal(Exception):
    """Base of the family. Subclasses set the class attributes; `private` is for the audit line, never for the wire.

    `detail` is the list in a 422 response, in the registered API's form: [{"loc", "msg", "type"}].
    """

    code: ClassVar[str] = ""
    error: ClassVar[str] = "invalid_request"
    status: ClassVar[int] = 400
    public: ClassVar[str] = ""
    help: ClassVar[str] = ""
    clause: ClassVar[str] = ""
    headers: ClassVar[dict[str, str]] = {}

    family: ClassVar[dict[str, "type[Refusal]"]] = {}

    def __init__(
        self,
        private: str = "",
        *,
        public: str | None = None,
        headers: dict[str, str] | None = None,
        detail: list[dict[str, object]] | None = None,
    ) -> None:
        super().__init__(private or self.code)
        self.private = private
        self.sentence = public or self.public
        self.answer_headers = {**self.headers, **(headers or {})}
        self.detail = detail
        if not _WIRE_SAFE.fullmatch(self.sentence):
            raise ValueError(f"the public sentence of {self.code} may not travel in error_description")

    def document(self, help_pages: str, correlation_id: str) -> dict[str, object]:
        """Return the JSON body of the refusal (RFC 6749 section 5.2); `help_pages` is the URL below which they are."""
        body: dict[str, object] = {
            "error": self.error,
            "error_description": self.sentence,
            "error_uri": help_pages + self.code,
            "correlation_id": correlation_id,
        }
        return body if self.detail is None else body | {"detail": self.detail}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__dict__.get("code"):
            return  # an abstract branch of the family, never raised itself
        missing = [name for name in ("public", "help", "clause") if not getattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__} lacks {', '.join(missing)}")
        known = Refusal.family.get(cls.code)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise TypeError(f"two refusals share the code {cls.code}")
        Refusal.family[cls.code] = cls


class Unavailable(Refusal):
    """Something that is needed for a response is unavailable; the caller may try again."""

    code = "temporarily_unavailable"
    error = "temporarily_unavailable"
    status = 503
    public = "The server cannot answer this request just now; try again after the time in Retry-After."
    help = "Try again after the number of seconds in Retry-After. Nothing was changed by this request."
    clause = "RFC 9110 15.6.4"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


class ServerFault(Refusal):
    """An unexpected error. The cause is in the log under the correlation id."""

    code = "server_error"
    error = "server_error"
    status = 500
    public = "The server met an error that it did not expect; quote the correlation_id when you report it."
    help = "Report the correlation_id to the operator of this server: the cause is in the log under it."
    clause = "RFC 6749 4.1.2.1"


class MethodNotAllowed(Refusal):
    """Raised with the methods that are allowed in the header Allow."""

    code = "method_not_allowed"
    status = 405
    public = "This address does not take that method; the Allow header lists those that it does."
    help = (
        "Use a method from the Allow header. Operators of a data API: a guarded route takes GET and HEAD unless its "
        "settings name its methods."
    )
    clause = "RFC 9110 15.5.6"


def by_code(code: str) -> type[Refusal]:
    """Return the refusal with a stored code; ServerFault for a code that this version does not have."""
    return Refusal.family.get(code, ServerFault)


class RedirectRefusal(Refusal):
    """A refusal that returns to the client through the browser (RFC 6749 4.1.2.1), with `iss` (RFC 9207).

    Raised only for a redirect URI from an authenticated pushed request of that client.
    """

    status = 303

    def __init__(self, private: str = "", *, redirect_uri: str, state: str | None, iss: str) -> None:
        super().__init__(private)
        self.redirect_uri = redirect_uri
        self.state = state
        self.iss = iss

    def location(self) -> str:
        """Return the URL to which the browser is redirected."""
        return with_query(
            self.redirect_uri,
            {"error": self.error, "error_description": self.sentence, "state": self.state, "iss": self.iss},
        )


def verdict(checks: Iterable[Callable[[Asked], Refusal | None]], asked: Asked) -> Refusal | None:
    """Return the first refusal of small checks that are run in order; None when every one passes."""
    for check in checks:
        refusal = check(asked)
        if refusal is not None:
            return refusal
    return None


def require(checks: Iterable[Callable[[Asked], Refusal | None]], asked: Asked) -> None:
    """Raise the first refusal of small checks that are run in order."""
    refusal = verdict(checks, asked)
    if refusal is not None:
        raise refusal


def with_query(redirect_uri: str, parameters: Mapping[str, str | None]) -> str:
    """Return `redirect_uri` with parameters added to its query (RFC 6749 3.1.2), without those that are None."""
    parts = urlsplit(redirect_uri)
    added = urlencode({name: value for name, value in parameters.items() if value is not None})
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))
