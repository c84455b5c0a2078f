"""Roles: the URLs in certificates that say what a member's application may do, and who may ask for which license."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

EDP: Final = "energy-data-provider"
CAP: Final = "carbon-accounting-provider"
FSP: Final = "financial-service-provider"

# License label -> the role that asks an issuer for it. The last two are the labels of the electricity-only texts.
asks_for: Mapping[str, str] = MappingProxyType(
    {
        "energy-consumption-edp-cap": CAP,
        "energy-consumption-emissions-edp-cap-fsp": CAP,
        "emissions-cap-fsp": FSP,
        "energy-consumption-data": CAP,
        "emissions-report": FSP,
    }
)


def url(registry: str, name: str) -> str:
    """Return the role's URL in one environment's Registry, such as https://registry.core.trust.ib1.org."""
    return f"{registry}/scheme/perseus/role/{name}"


def holds(certificate_roles: Collection[str], accepted: Collection[str]) -> bool:
    """Return whether any role of the certificate is one of the accepted URLs.

    URLs are compared whole and with case: no prefix, no other environment, no version suffix. An empty `accepted` matches
    nobody.
    """
    return not set(accepted).isdisjoint(certificate_roles)
