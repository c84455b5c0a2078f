"""Strict parameters: a request whose form or query is not well-formed is refused before any value is read.

Werkzeug's own parsing takes the first of two parameters, replaces what is not UTF-8 and accepts NUL; each of these has
been used in attacks. So the bytes are read here, once.
"""

import re
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import unquote_to_bytes

from flask import Request

from consent_server.refusal import Refusal

BODY_LIMIT = 64 * 1024
FIELD_LIMIT = 8 * 1024
MOST_FIELDS = 64
FORM = "application/x-www-form-urlencoded"

# A percent sign that does not start an octet, or an octet that should have been encoded.
_MALFORMED = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^\x21-\x7E]")
# What URLs are full of. None of these octets is part of another escape, so they may be put in one after the other.
_FREQUENT = ((b"+", b" "), (b"%3A", b":"), (b"%2F", b"/"))
_CONTROL = re.compile(r"[\x00-\x1F\x7F-\x9F]")
_TYPED_CONTROL = re.compile(r"[\x01-\x1F\x7F-\x9F]")


class MalformedParameters(Refusal):
    code = "malformed_parameters"
    public = "The parameters are not well-formed: send UTF-8, percent-encoded, without control characters."
    help = "Encode each name and value as UTF-8 with percent-encoding, and leave out NUL and other control characters."
    clause = "RFC 6749 appendix B"


class RepeatedParameter(Refusal):
    code = "repeated_parameter"
    public = "A parameter is there more than once; send each parameter once."
    help = "Send each parameter once. If it has two values, two programs may each use a different one."
    clause = "RFC 6749 3.1 and 3.2"


class ParameterInQuery(Refusal):
    code = "parameter_in_query"
    public = "This endpoint takes its parameters in the form body; send none in the query."
    help = "Move the parameters from the URL to the body. URLs are written to logs, and these parameters are secret."
    clause = "RFC 6749 2.3.1; RFC 9126 2.1"


class MissingParameter(Refusal):
    code = "missing_parameter"
    public = "A required parameter is missing."
    help = "Send the parameter that error_description names. An empty value counts as absent."
    clause = "RFC 6749 4.1.2.1 and 5.2"


class TooManyParameters(Refusal):
    """More than MOST_FIELDS, or more than a page's own form has where that is more."""

    code = "too_many_parameters"
    public = f"There are more than {MOST_FIELDS} parameters; send only those that this endpoint knows."
    help = "Send only the parameters that the endpoint defines."
    clause = "RFC 9126 2.3"


class ParameterTooLong(Refusal):
    code = "parameter_too_long"
    public = f"A parameter is longer than {FIELD_LIMIT} characters; shorten it."
    help = f"Keep each parameter under {FIELD_LIMIT} characters. A state of a thousand characters is fine."
    clause = "RFC 9126 2.3"


class NotAForm(Refusal):
    code = "not_a_form"
    status = 415
    public = f"The body must be {FORM}, in UTF-8 and not compressed."
    help = f"Send Content-Type: {FORM}, without Content-Encoding."
    clause = "RFC 9126 2.1; RFC 9110 15.5.16"
    headers: ClassVar[dict[str, str]] = {"Accept": FORM}


class BodyTooLarge(Refusal):
    code = "body_too_large"
    status = 413
    public = f"The body is larger than {BODY_LIMIT} bytes."
    help = f"Send at most {BODY_LIMIT} bytes. No request to this server needs more."
    clause = "RFC 9126 2.3; RFC 9110 15.5.14"


def form(
    request: Request,
    *,
    required: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    beside: tuple[str, ...] = (),
    typed: bool = False,
) -> dict[str, str]:
    """Return the named parameters of a form body, without those that are absent or empty (RFC 6749 3.1).

    A request without body and type is an empty form.

    Names that are neither required nor optional are ignored, but must be well-formed and unique too. `beside` names what
    the query of a page's form action may hold; elsewhere any query is refused. In what a person has `typed` a control
    character other than NUL counts as a space: a tab that came with a pasted number is no fault of a program.
    """
    environ = request.environ
    if environ["QUERY_STRING"]:
        query(request, optional=beside, only=True)
    # In one spelling nothing of it has to be parsed.
    if environ.get("CONTENT_TYPE") != FORM:
        if not request.mimetype and not _body(request):
            return _chosen([], required, optional)
        if request.mimetype != FORM:
            raise NotAForm(f"content type {request.mimetype[:60]!r}")
        if request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
            raise NotAForm("charset is not UTF-8")
    if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise NotAForm("compressed")
    return _chosen(_pairs(_body(request), len(required) + len(optional), typed), required, optional)


def query(
    request: Request, *, required: tuple[str, ...] = (), optional: tuple[str, ...] = (), only: bool = False
) -> dict[str, str]:
    """Return the named parameters of the query. With `only`, any other name is refused rather than ignored."""
    raw = request.query_string
    if len(raw) > BODY_LIMIT:
        raise ParameterTooLong("query")
    pairs = _pairs(raw)
    if only and any(name not in (*required, *optional) for name, _ in pairs):
        raise ParameterInQuery()
    return _chosen(pairs, required, optional)


def is_text(octets: bytes) -> bool:
    """Return whether octets are UTF-8 without control characters."""
    try:
        return not _CONTROL.search(octets.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _body(request: Request) -> bytes:
    stated = request.environ.get("CONTENT_LENGTH")
    if stated and int(stated) > BODY_LIMIT:
        raise BodyTooLarge()
    # No more than is stated (PEP 3333). What comes in chunks states nothing, and ends by itself.
    body: bytes = request.input_stream.read(int(stated)) if stated else request.stream.read(BODY_LIMIT + 1)
    if len(body) > BODY_LIMIT:
        raise BodyTooLarge()
    return body


def _chosen(pairs: Sequence[tuple[str, str]], required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, str]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RepeatedParameter()
    for name in required:
        if not found.get(name):
            raise MissingParameter(name, public=f"The parameter {name} is missing.")
    return {name: value for name, value in found.items() if value and (name in optional or name in required)}


def _pairs(raw: bytes, known: int = 0, typed: bool = False) -> list[tuple[str, str]]:
    """Return each name and value; at most MOST_FIELDS, or as many as are `known` where that is more."""
    if _MALFORMED.search(raw):
        raise MalformedParameters("octets")
    fields = [field for field in raw.split(b"&") if field]
    if len(fields) > max(MOST_FIELDS, known):
        raise TooManyParameters(str(len(fields)))
    parts = [field.partition(b"=") for field in fields]
    return [(_decoded(name), _decoded(value, typed)) for name, _, value in parts]


def _decoded(octets: bytes, typed: bool = False) -> str:
    if b"%" not in octets:  # it is printable ASCII, as _MALFORMED has it
        text = octets.decode("ascii").replace("+", " ")
    else:
        text = _unescaped(octets)
        if typed:
            text = _TYPED_CONTROL.sub(" ", text)
        if _CONTROL.search(text):
            raise MalformedParameters("control character")
    if len(text) > FIELD_LIMIT:
        raise ParameterTooLong()
    return text


def _unescaped(octets: bytes) -> str:
    for escape, octet in _FREQUENT:
        octets = octets.replace(escape, octet)
    try:
        return (unquote_to_bytes(octets) if b"%" in octets else octets).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedParameters("not UTF-8") from None
