"""The settings of `consent-server provenance sign`: one TOML file, such as config/signing.toml."""

from pathlib import Path

from pydantic import Field

from consent_server.pki.member_certificate import MalformedCertificate
from consent_server.resource.sign import OriginSettings, SigningParty
from consent_server.scheme.provenance.container import Signer
from consent_server.scheme.provenance.step import ProvenanceError
from consent_server.settings import BadSettings
from consent_server.settings.section import Section, load_section, unreadable
from consent_server.settings.values import HttpsUrl, SecretFile


class SigningSettings(Section):
    registry: HttpsUrl = Field(description="The Registry's base URL.")
    data_service: str = Field(min_length=1, description="The id of the API's entry in the Directory's catalogue.")
    signing_certificate: Path = Field(description="PEM chain, leaf first, of our provenance signing certificate.")
    signing_key: SecretFile = Field(description="Key of that certificate: PEM, or its PKCS#11 URI.")
    origin: OriginSettings = OriginSettings()


def load(path: Path) -> SigningParty:
    """Return who signs, as a file says; relative file names in it are relative to the file. Raise BadSettings."""
    settings = load_section(path, SigningSettings)
    try:
        signer = Signer(settings.signing_certificate.read_bytes(), settings.signing_key.read_bytes())
    except OSError as error:
        raise unreadable(error, settings) from None
    except (ProvenanceError, MalformedCertificate) as error:
        raise BadSettings(f"{path}: signing_certificate, signing_key: {error}") from None
    return SigningParty(
        signer=signer, registry=settings.registry, service=settings.data_service, origin=settings.origin
    )
