"""Certificates of one made-up Directory, which the tests of a room are shown."""

from types import SimpleNamespace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consent_server.caller.arrival import Arrival
from consent_server.sandbox.authority import Authority
from consent_server.settings.clients import ClientsSettings, RevocationListSettings

DIRECTORY = "https://localhost:8440/directory"
APPLICATION = f"{DIRECTORY}/a/cap"
MEMBER = f"{DIRECTORY}/m/cap-member"
CAP_ROLE = "https://localhost:8440/registry/scheme/perseus/role/carbon-accounting-provider"


class Certificates:
    """Everything that the tests of this room are shown: made once, in one directory."""

    def __init__(self, directory):
        self.authority = Authority(directory).create()
        self.issuer_pem = self.authority.client_issuer.read_bytes()
        self.issuer = x509.load_pem_x509_certificate(self.issuer_pem)
        self.root = x509.load_pem_x509_certificate(self.authority.client_root.read_bytes())
        self.issuer_der = self.issuer.public_bytes(Encoding.DER)
        self.cap = self.authority.client("cap", APPLICATION, MEMBER, [CAP_ROLE])
        self.server = self.authority.server()

    def client(self, name, application=APPLICATION, member=MEMBER, roles=(CAP_ROLE,), **faults):
        return self.authority.client(name, application, member, roles, **faults)

    def arrival(self, issued):
        return Arrival(issued.der, (self.issuer_der,))

    def settings(self, *, environment="production", max_age_s=86400, issuers=None, of_issuers="when-published"):
        return SimpleNamespace(
            clients=ClientsSettings(root=self.authority.client_root, issuers=issuers),
            scheme=SimpleNamespace(directory=DIRECTORY),
            revocation_list=RevocationListSettings(max_age_s=max_age_s, of_issuers=of_issuers),
            is_sandbox=environment == "sandbox",
        )
