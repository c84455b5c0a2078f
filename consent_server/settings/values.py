"""The kinds of value that a setting can have, with the checks of each."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator


def plain_https(value: str) -> str:
    """Return an https URL as it is. Raise ValueError for another text."""
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.fragment or parts.query:
        raise ValueError("must be an https URL without user name, query or fragment")
    if value.endswith("/"):
        raise ValueError("must not end with a slash")
    return value


HttpsUrl = Annotated[str, AfterValidator(plain_https)]


def _https_or_none(value: str) -> str:
    return value and plain_https(value)


PageUrl = Annotated[str, AfterValidator(_https_or_none)]


def ip_address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address; the one of IPv4 for the form that it has at a socket of IPv6 (::ffff:192.0.2.1). Raise ValueError."""
    address = ipaddress.ip_address(value)
    return getattr(address, "ipv4_mapped", None) or address


def _network(value: str) -> str:
    if "/" not in value:
        value = str(ip_address(value))
    if ipaddress.ip_network(value).prefixlen == 0:
        raise ValueError("must not cover every address: anybody could then set the certificate header")
    return value


Network = Annotated[str, AfterValidator(_network)]

# Spellings of an IPv4 address that resolvers accept and no DNS name has: 2130706433, 0x7f.1, 127.1
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def is_loopback(origin: str) -> bool:
    """Return whether the host of a URL is this machine, in any spelling that a resolver accepts."""
    host = (urlsplit(origin).hostname or "").rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        return host.rsplit(".", 1)[-1] == "localhost" or bool(_NUMBER.fullmatch(host.rsplit(".", 1)[-1]))
    return address.is_loopback or address.is_unspecified


# Group members may read (a mounted secret belongs to a group); nobody else may, and nobody may write but the owner.
_TOO_OPEN: Final = 0o027


def is_too_open(path: Path) -> bool:
    """Return whether others can read or change a file that holds a secret. Raise OSError for one that is not there."""
    return bool(path.stat().st_mode & _TOO_OPEN)


def _private(path: Path | None) -> Path | None:
    try:
        if path is not None and is_too_open(path):
            raise ValueError(f"{path}: others can read or change this secret; chmod 600")
    except OSError:
        pass  # that it is missing is reported where it is read
    return path


#: A file that holds a secret. One that is open to others stops the start, and every command.
SecretFile = Annotated[Path, AfterValidator(_private)]
OptionalSecretFile = Annotated[Path | None, AfterValidator(_private)]
