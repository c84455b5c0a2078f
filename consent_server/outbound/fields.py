"""Strict readers of fields in others' documents. They raise ValueError, which names the field and not its value."""

import json
import logging
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson

from consent_server import clock
from consent_server.scheme.instant import DAY

log = logging.getLogger("consent_server.outbound")

T = TypeVar("T")

_LONGEST_TEXT = 300
OUTCODE = re.compile(r"[A-Z]{1,2}[0-9][0-9A-Z]?", re.ASCII)
_LONGEST_URL = 2000


def json_or_none(body: bytes) -> Any:
    """Return the body as JSON; None for what is no JSON.

    Not by orjson, which refuses the whole of a list for half a surrogate pair in one of its texts.
    """
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError):
        return None


def document(body: bytes) -> dict[str, Any]:
    """Return a JSON object."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ValueError("not JSON") from None
    if not isinstance(parsed, dict):
        raise ValueError("not a JSON object")
    return parsed


def text(source: dict[str, Any], name: str) -> str:
    """Return a name or sentence for people, not empty, not long, without control and direction-changing characters."""
    value = source.get(name)
    if not isinstance(value, str) or len(value) > 10 * _LONGEST_TEXT:
        raise ValueError(f"{name} is not text, or too long to look at")
    plain = " ".join("".join(c for c in value if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co"}).split())
    if not plain or len(plain) > _LONGEST_TEXT:
        raise ValueError(f"{name} is empty or too long")
    return plain


def opaque(source: dict[str, Any], name: str) -> str:
    """Return an identifier that is opaque to us, unchanged: not empty, not long, without control characters."""
    value = source.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"{name} is not an identifier")
    return value


def outcode(source: dict[str, Any], name: str) -> str | None:
    """Return the first half of a postcode, None where the field holds anything else: a whole postcode is not kept."""
    value = source.get(name)
    return value if isinstance(value, str) and OUTCODE.fullmatch(value) else None


def url(source: dict[str, Any], name: str) -> str:
    """Return an https URL, unchanged: identifiers are compared byte for byte."""
    value = source.get(name)
    if value is None:
        raise ValueError(f"{name} is missing")
    if not isinstance(value, str) or not value.startswith("https://") or len(value) > _LONGEST_URL:
        raise ValueError(f"{name} is not an https URL")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{name} holds characters that no URL has")
    try:
        parts = urlsplit(value)
        named = parts.hostname and parts.port != 0
    except ValueError:  # it quotes the value
        named = None
    if not named:
        raise ValueError(f"{name} names no host")
    return value


def optional_url(source: dict[str, Any], name: str) -> str | None:
    """Return `url`, or None where the field is absent, null or empty."""
    return url(source, name) if source.get(name) else None


def texts(source: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of strings: of one for a single string, empty for an absent field."""
    value = source.get(name) or []
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise ValueError(f"{name} is not a list of strings")
    return tuple(listed)


def objects(source: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects, empty for an absent field."""
    value = source.get(name) or []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError(f"{name} is not a list of objects")
    return value


class Entry:
    """One entry of a list that others write to: what we can do without costs its own field where it cannot be read."""

    def __init__(self, url: str, source: dict[str, Any]) -> None:
        self._url = url
        self._source = source

    def get(self, read: Callable[[dict[str, Any], str], T], name: str, otherwise: T) -> T:
        """Return `read` of the field, or `otherwise` where it raises ValueError, which is logged by the field's name."""
        try:
            return read(self._source, name)
        except ValueError as fault:
            _warn(self._url, str(fault), clock.now() // DAY)
            return otherwise

    def objects(self, name: str) -> list[dict[str, Any]]:
        """Return the objects of a list, without what in it is none, which is logged."""
        value = self._source.get(name) or []
        listed = value if isinstance(value, list) else [value]
        found = [each for each in listed if isinstance(each, dict)]
        if len(found) < len(listed):
            _warn(self._url, f"{name} is not a list of objects", clock.now() // DAY)
        return found


@lru_cache(maxsize=1024)
def _warn(url: str, fault: str, _day: int) -> None:
    """Write one line a day in each process, however often the entry is read."""
    log.warning("the Directory's entry %.300r: %s; the rest of it is used", url, fault)
