"""The client of the Registry: a license and its permission text, which must have the pinned digest."""

from dataclasses import dataclass

from consent_server.outbound.cache import FOR_EVER, Cache, Fetcher
from consent_server.outbound.errors import NotAllowed, Unreachable
from consent_server.outbound.session import Session
from consent_server.scheme import licenses
from consent_server.scheme.permission_text import names_fuel
from consent_server.settings import Settings
from consent_server.settings.scheme import LicenseSettings

_LARGEST_TEXT = 1 << 18


class RegistryUnreachable(Unreachable):
    """The Registry did not give the license or its text, and there is no kept copy."""


class TextChanged(Exception):
    """The text under this license is not the one that was pinned, although a versioned Registry URL never changes."""


class FuelNotNamed(Exception):
    """The text does not name, as something consumed, a fuel that the configuration says it covers."""


@dataclass(frozen=True)
class PermissionText:
    """A license as published, and its raw permission text, whose digest is the pinned one."""

    license: licenses.PublishedLicense
    text: str


class Registry:
    """Configured licenses. What was verified once stays usable while the Registry is down, because it cannot change."""

    def __init__(self, settings: Settings, session: Session, cache: Cache) -> None:
        self._host = f"{settings.scheme.registry}/"
        self._fetcher = Fetcher(session, cache)

    def license(self, configured: LicenseSettings) -> PermissionText:
        """Return the license and its text. Raise TextChanged, FuelNotNamed or RegistryUnreachable."""
        # Here, and not above: most processes show no text, and rdflib takes three megabytes and 0.06 s.
        from consent_server.scheme import rdf
        from consent_server.scheme.registry_document import from_rdf

        try:
            published = self._fetcher.get(
                configured.url,
                lambda body: from_rdf(body, configured.url),
                accept=rdf.ACCEPT,
                keep_s=FOR_EVER,
            )
            if not published.text_url.startswith(self._host):
                raise NotAllowed("url", "registry")
            if published.text_sha256 != configured.text_sha256:
                raise TextChanged(configured.label)
            raw = self._fetcher.get(
                published.text_url, bytes, accept="text/plain, */*;q=0.1", limit=_LARGEST_TEXT, keep_s=FOR_EVER
            )
        except Unreachable as error:
            raise RegistryUnreachable(error.kind, error.host) from None
        if licenses.digest(raw) != configured.text_sha256:
            raise TextChanged(configured.label)
        text = raw.decode("utf-8")
        for fuel in configured.fuels:
            if not names_fuel(text, fuel):
                raise FuelNotNamed(f"{configured.label}: {fuel}")
        return PermissionText(published, text)
