"""The two doors, and how the pages of the public one look."""

from pathlib import Path
from typing import Final

from pydantic import Field, model_validator

from consent_server.brand import colour
from consent_server.settings.section import Section
from consent_server.settings.values import HttpsUrl, PageUrl, SecretFile


class ListenerSettings(Section):
    """One door: its origin, the address it binds to, and its server certificate."""

    origin: HttpsUrl = Field(description="The origin that others use, without a path.")
    bind: str = Field(description="host:port that gunicorn binds to.")
    certificate: Path = Field(description="PEM chain of the server certificate (ECDSA P-256 or P-384).")
    key: SecretFile = Field(description="PEM key of the server certificate.")
    workers: int = Field(2, ge=1, description="gunicorn worker processes.")
    connections: int = Field(
        2000,
        ge=10,
        description=(
            "Connections that a worker holds at once, at most half of its open files. The one that is idle longest, or else "
            "the one whose client takes longest, is closed for the next."
        ),
    )
    keep_alive_s: int = Field(
        75, ge=1, description="Seconds without a request after which a connection is closed; longer than a balancer's."
    )
    request_s: int = Field(
        10, ge=1, description="Seconds that a client may take over the handshake, and over each request with its body."
    )
    answer_s: int = Field(60, ge=1, description="Seconds that a client may take to read one response.")


class ContactSettings(Section):
    """Whom a person can ask: on every error page, and at the foot of every page. What is empty is not shown. Production needs
    an e-mail address or a telephone number."""

    email: str = Field(
        default="", pattern=r"^([^\s@<>\"?&]+@[^\s@<>\"?&]+)?$", description="E-mail address for questions."
    )
    telephone: str = Field(default="", pattern=r"^[+0-9 ()-]*$", description="Telephone number for questions.")
    privacy: PageUrl = Field(default="", description="https URL of the privacy notice.")
    complaints: PageUrl = Field(default="", description="https URL of how to complain.")
    accessibility: PageUrl = Field(default="", description="https URL of the accessibility statement.")
    security: str = Field(
        default="",
        pattern=r"^(mailto:[^\s@?]+@[^\s@?]+|https://\S+)?$",
        description=(
            "mailto: or https URL where a weakness is reported, for `/.well-known/security.txt` (RFC 9116); there is no such "
            "file if it is empty."
        ),
    )


_HEX: Final = r"^#[0-9a-f]{6}$"


class BrandSettings(Section):
    """How our pages look. Our name at the top is `member.name`."""

    logo: Path | None = Field(
        default=None,
        description=(
            "SVG or PNG file of at most 64 KiB, shown beside our name and as the pages' icon. A PNG has at most 1024 pixels "
            "each way and is not interlaced; an SVG has only shapes, text and gradients."
        ),
    )
    colour: str = Field(
        default="#0b5d4a",
        pattern=_HEX,
        description=(
            "Colour of links and buttons on light pages, such as #0b5d4a. A colour whose contrast with what is beside it is "
            "below WCAG 2.2 AA is refused."
        ),
    )
    dark_colour: str = Field(
        default="#5fd0ae",
        pattern=_HEX,
        description="The same on dark pages, which browsers show where the reader prefers them; set it together with colour.",
    )

    @model_validator(mode="after")
    def _readable(self) -> "BrandSettings":
        if len({"colour", "dark_colour"} & self.model_fields_set) == 1:
            raise ValueError("colour and dark_colour go together")
        colour.shades(self.colour, colour.LIGHT)
        colour.shades(self.dark_colour, colour.DARK)
        return self


class PublicSettings(ListenerSettings):
    """The door for browsers: its origin, the address it binds to, and its server certificate."""

    brand: BrandSettings = BrandSettings()
    contact: ContactSettings = ContactSettings()
