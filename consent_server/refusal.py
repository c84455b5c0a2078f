"""The Refusal family: what the server says when it says no.

A refusal carries everything that an answer needs: its own code (the name of its help page), the OAuth error code,
the HTTP status, one public sentence and one private detail. Rooms define theirs beside the check that raises them;
views never choose a status. One handler, in `web`, turns a refusal into JSON, a redirect or a page.
"""

import re
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlencode, urlsplit, urlunsplit

# RFC 6749 section 5.2 excludes the quotation mark and the backslash from error_description, and all but ASCII.
_WIRE_SAFE = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")


class Refusal(Exception):
    """Base of the family. Subclasses set the class attributes; `private` is for the audit line, never for the wire.

    `detail` is the list that a 422 answer carries, in the registered API's shape: [{"loc", "msg", "type"}].
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
    """Something that an answer rests on cannot be reached; the caller may try again."""

    code = "temporarily_unavailable"
    error = "temporarily_unavailable"
    status = 503
    public = "The server cannot answer this request just now; try again after the time in Retry-After."
    help = "Try again after the number of seconds in Retry-After. Nothing was changed by this request."
    clause = "RFC 9110 15.6.4"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


class ServerFault(Refusal):
    """An error that nobody foresaw. The cause is in the log under the correlation id."""

    code = "server_error"
    error = "server_error"
    status = 500
    public = "The server met an error that it did not expect; quote the correlation_id when you report it."
    help = "Report the correlation_id to the operator of this server: the log holds the cause under it."
    clause = "RFC 6749 4.1.2.1"


class RedirectRefusal(Refusal):
    """A refusal whose answer goes back to the client through the browser (RFC 6749 4.1.2.1), with `iss` (RFC 9207).

    Raised only for a redirect URI that came in an authenticated pushed request of that very client.
    """

    status = 303

    def __init__(self, private: str = "", *, redirect_uri: str, state: str | None, iss: str) -> None:
        super().__init__(private)
        self.redirect_uri = redirect_uri
        self.state = state
        self.iss = iss

    def location(self) -> str:
        """Where the browser is sent."""
        return with_query(
            self.redirect_uri,
            {"error": self.error, "error_description": self.sentence, "state": self.state, "iss": self.iss},
        )


def with_query(redirect_uri: str, parameters: Mapping[str, str | None]) -> str:
    """`redirect_uri` with parameters added behind the query that it has (RFC 6749 3.1.2); those that are None stay out."""
    parts = urlsplit(redirect_uri)
    added = urlencode({name: value for name, value in parameters.items() if value is not None})
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))
