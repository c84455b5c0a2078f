"""Fields of documents that others wrote, taken strictly. Everything raises ValueError naming the field, not its value."""

import re
import unicodedata
from typing import Any

import orjson

_LONGEST_TEXT = 300
OUTCODE = re.compile(r"[A-Z]{1,2}[0-9][0-9A-Z]?", re.ASCII)
_LONGEST_URL = 2000


def document(body: bytes) -> dict[str, Any]:
    """A JSON object."""
    parsed = orjson.loads(body)  # its error is a ValueError
    if not isinstance(parsed, dict):
        raise ValueError("not a JSON object")
    return parsed


def text(source: dict[str, Any], name: str) -> str:
    """A name or sentence for people: control and direction-changing characters out, not empty, not long."""
    value = source.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    plain = " ".join("".join(c for c in value if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co"}).split())
    if not plain or len(plain) > _LONGEST_TEXT:
        raise ValueError(f"{name} is empty or too long")
    return plain


def optional_text(source: dict[str, Any], name: str) -> str | None:
    """`text`, or None where the field is absent, null or empty."""
    return text(source, name) if source.get(name) else None


def opaque(source: dict[str, Any], name: str) -> str:
    """An identifier that means nothing to us: as written, not empty, not long, without control characters."""
    value = source.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"{name} is not an identifier")
    return value


def outcode(source: dict[str, Any], name: str) -> str | None:
    """The first half of a postcode, None where the field holds anything else: a whole postcode goes no further."""
    value = source.get(name)
    return value if isinstance(value, str) and OUTCODE.fullmatch(value) else None


def url(source: dict[str, Any], name: str) -> str:
    """An https URL, as written: identifiers are compared byte for byte."""
    value = source.get(name)
    if not isinstance(value, str) or not value.startswith("https://") or len(value) > _LONGEST_URL:
        raise ValueError(f"{name} is not an https URL")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{name} holds characters that no URL has")
    return value


def optional_url(source: dict[str, Any], name: str) -> str | None:
    """`url`, or None where the field is absent, null or empty."""
    return url(source, name) if source.get(name) else None


def texts(source: dict[str, Any], name: str) -> tuple[str, ...]:
    """A list of strings; a single string counts as a list of one, an absent field as none."""
    value = source.get(name) or []
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise ValueError(f"{name} is not a list of strings")
    return tuple(listed)


def objects(source: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects; an absent field counts as none."""
    value = source.get(name) or []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError(f"{name} is not a list of objects")
    return value
