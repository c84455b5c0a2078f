"""Which redirect URIs are accepted.

They are not registered beforehand (OAuth with Member Identity Certificates): an authenticated pushed request names one.
Each is therefore parsed strictly, and never compared by prefix.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import parse_qsl

MOST_CHARACTERS: Final = 2000

_CHARACTER: Final = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})"
_URI: Final = re.compile(
    rf"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
    rf"(?:/{_CHARACTER}*)?(?:\?(?P<query>(?:{_CHARACTER}|\?)*))?"
)
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9\-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_ENCODED_CONTROL: Final = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
_OURS: Final = {"code", "state", "iss", "error", "error_description", "error_uri", "response"}


def fault(uri: str, *, sandbox: bool) -> str | None:
    """Return what is wrong with a redirect URI, as the end of a sentence that begins with "redirect_uri"; None for a good one.

    The sandbox accepts any https host, with a port or without, and http on this machine, as the scheme's own demo client
    has it; production a public DNS name by https alone.
    """
    if len(uri) > MOST_CHARACTERS:
        return f"is longer than {MOST_CHARACTERS} characters"
    # FAPI 2.0 section 5.3.2.2: no http, except loopback redirection (RFC 8252 section 7.3), which no member's service needs
    if not uri.startswith("https://") and not (sandbox and uri.startswith("http://")):
        return "must begin with https://"
    # RFC 6749 section 3.1.2: "The endpoint URI MUST NOT include a fragment component."
    if "#" in uri:
        return "must not have a fragment"
    match = _URI.fullmatch(uri)
    if match is None:
        # RFC 3986 sections 2, 3: user names are left out of the grammar here, since they only disguise hosts
        return "must be a plain https URL: no user name, and no characters that RFC 3986 does not allow"
    if _ENCODED_CONTROL.search(uri):
        return "must not hold encoded control characters"
    # RFC 6749 section 3.1: response parameters MUST NOT be included more than once, and we add these
    if any(name in _OURS for name, _ in parse_qsl(match["query"] or "", keep_blank_values=True)):
        return "must not have code, state, iss or an error parameter of its own"
    if wrong := _fault_of_port(match["port"], sandbox) or _fault_of_host(match["host"], sandbox):
        return wrong
    return "must begin with https://" if match["scheme"] == "http" and not _is_loopback(match["host"]) else None


def _is_loopback(host: str) -> bool:
    """Return whether a host without fault is this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _fault_of_port(port: str | None, sandbox: bool) -> str | None:
    if port is None:
        return None
    if not 1 <= int(port) <= 65535:
        return "has a port that does not exist"
    return None if sandbox else "must not name a port"


def _fault_of_host(host: str, sandbox: bool) -> str | None:
    labels = host.split(".")
    if host.startswith("[") or _NUMBER.fullmatch(labels[-1]):
        # To a browser a host that ends in a number is an address: other spellings (2130706433, 0x7f.1) only disguise one.
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return "has a host that is neither a DNS name nor an IP address"
        return None if sandbox else "must name a host, not an IP address"
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return "has a host that is not a DNS name in ASCII"
    if not sandbox and (len(labels) == 1 or labels[-1].lower() == "localhost"):
        return "must name a public host"
    return None


def host(uri: str) -> str:
    """Return the host and port of an accepted redirect URI, in lower case: for the audit line and for the SME to read."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise ValueError("not an accepted redirect URI")
    return (match["host"] + (f":{match['port']}" if match["port"] else "")).lower()
