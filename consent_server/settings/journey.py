"""How a business shows an EDP which meters are its own."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from consent_server.settings.section import Section
from consent_server.settings.values import HttpsUrl, OptionalSecretFile, plain_https


class JourneySettings(Section):
    """How a business shows an EDP which meters are its own."""

    steps: tuple[str, ...] = Field(
        default=("bill",),
        min_length=1,
        description=(
            "Ways to do so; the first is shown, the others are offered beside it. bill: postcode and numbers. login: section "
            "login. Or a step of your own, as module:name."
        ),
    )


def _issuer(value: str) -> str:
    return value and plain_https(value.removesuffix("/")) and value


class LoginSettings(Section):
    """Customer log-in at an EDP's own OpenID provider (code flow with PKCE); docs/operator.md says how."""

    issuer: Annotated[str, AfterValidator(_issuer)] = Field(
        default="", description="The provider's issuer identifier, byte for byte; off when empty."
    )
    name: str = Field(default="", description="What pages and evidence call the provider; its host when empty.")
    client_id: str = Field(default="", description="Our client id at the provider.")
    key: OptionalSecretFile = Field(
        default=None,
        description="PEM key (P-256 or RSA) with which we authenticate there: private_key_jwt. This or `secret`.",
    )
    secret: OptionalSecretFile = Field(default=None, description="File with our client secret there.")
    scopes: tuple[str, ...] = Field(
        default=("openid",), description="Scopes that are requested; openid must be among them."
    )
    customer_claim: str = Field(
        default="sub", description="The ID token's claim that names the customer to the meter register."
    )
    mail_claim: str = Field(
        default="email",
        description="The ID token's claim with the e-mail address to which receipts go, which counts where the claim of that "
        "name with _verified behind it is true. Empty: no address is read.",
    )
    acr_values: tuple[str, ...] = Field(
        default=(),
        description="Authentication contexts that are requested; any other is refused. Empty: any.",
    )
    strengths: dict[str, str] = Field(
        default={},
        description='What the evidence says of an authentication context, such as {"urn:example:2fa" = "two factors"}.',
    )
    max_age_s: int = Field(
        default=3600,
        ge=0,
        description="Seconds since the customer last typed its password there, at most. 0: any time.",
    )
    button: str = Field(
        default="Log in",
        min_length=1,
        max_length=60,
        description="The words on the button. The default is shown in the page's language, any others as they are.",
    )
    through: tuple[HttpsUrl, ...] = Field(
        default=(), description="Further origins through which the provider redirects a browser before it shows a page."
    )

    @property
    def provider(self) -> str:
        """Return what pages and evidence call the provider."""
        return self.name or urlsplit(self.issuer).netloc
