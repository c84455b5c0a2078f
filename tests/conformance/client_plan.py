"""The conformance suite as the server of its client plan, and which of that plan's modules concern a CAP.

Plan `fapi2-security-profile-final-client-test-plan` of suite 5.2.4, variant plain_oauth, mtls, mtls, plain_fapi, read from its
source (docs/conformance.md). The suite starts a server of its own for each module; ours is one, and spoils one thing at a time.
"""

from pathlib import Path
from typing import Final

from tests.interop.unkind_edp import METADATA, UnkindEdp, any_token

PREFIX: Final = "fapi2-security-profile-final-client-"
_ID_TOKEN: Final = "OpenID Connect: plain OAuth has no ID token"
_DPOP: Final = "DPoP: tokens are bound to the certificate's application"
#: What the plan publishes, in its order; why a module does not concern plain OAuth with mutual TLS, empty where it does.
MODULES: Final = {
    "test-happy-path": "",
    "test-discovery-issuer-mismatch": "",
    "test-invalid-iss": _ID_TOKEN,
    "test-invalid-aud": _ID_TOKEN,
    "test-invalid-secondary-aud": _ID_TOKEN,
    "test-invalid-null-alg": _ID_TOKEN,
    "test-invalid-alternate-alg": _ID_TOKEN,
    "test-invalid-expired-exp": _ID_TOKEN,
    "test-invalid-missing-exp": _ID_TOKEN,
    "test-invalid-missing-aud": _ID_TOKEN,
    "test-invalid-missing-iss": _ID_TOKEN,
    "test-valid-aud-as-array": _ID_TOKEN,
    "test-invalid-nonce": _ID_TOKEN,
    "test-invalid-missing-nonce": _ID_TOKEN,
    "test-invalid-authorization-response-iss": "",
    "test-remove-authorization-response-iss": "",
    "test-ensure-authorization-response-with-invalid-state-fails": "",
    "test-ensure-authorization-response-with-invalid-missing-state-fails": "",
    "test-token-endpoint-response-without-expires_in": "",
    "test-token-type-case-insensitivity": "",
    "test-rs-dpop-auth-scheme-case-insensitivity": _DPOP,
    "test-happy-path-no-dpop-nonce": _DPOP,
    "test-invalid-openbanking-intent-id": _ID_TOKEN,
    "refresh-token-test": "the plan leaves it out of plain FAPI; module C1 refreshes and rotates all the same",
}


class SuiteServer(UnkindEdp):
    """The suite's issuer: a path that ends with a slash, endpoints that only the aliases name, tokens of any character.

    Beside the suite's own metadata it has the two endpoints that IB1 requires of an issuer.
    """

    def __init__(self, chain: Path, key: Path, client_root: Path) -> None:
        super().__init__(chain, key, client_root)
        self.issuer = f"{self.url}/test/a/perseus/"
        aliased = ("token_endpoint", "pushed_authorization_request_endpoint")
        self.metadata |= {
            "issuer": self.issuer,
            "mtls_endpoint_aliases": {name: self.metadata[name] for name in aliased},
            **{name: f"{self.issuer}{name}" for name in aliased},  # nothing is there
            "tls_client_certificate_bound_access_tokens": True,
            "token_endpoint_auth_methods_supported": ["tls_client_auth"],
        }
        self.server.routes[f"{METADATA}/test/a/perseus"] = self.server.routes.pop(METADATA)
        self.rotates = True
        self.new_token = any_token
