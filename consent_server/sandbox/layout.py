"""One sandbox's addresses, files and identifiers: pure, computed from its directory and its first port.

Every other module of the sandbox takes a Layout; nothing else writes a port, a path or a URL down.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consent_server.scheme import roles

HOST: Final = "localhost"
#: The parties' logos, each named after its party.
LOGOS: Final = Path(__file__).parent / "static"

# Port of each service, counted from the first.
PORTS: Final = {
    "trust": 0,
    "edp_public": 1,
    "edp_mutual_tls": 2,
    "cap_public": 3,
    "cap_mutual_tls": 4,
    "fsp_public": 5,
    "fsp_mutual_tls": 6,
}
MUTUAL_TLS_DOORS: Final = ("edp_mutual_tls", "cap_mutual_tls", "fsp_mutual_tls")

# A role that the Registry knows and that opens no door: it makes a good certificate without a role that is asked for.
OBSERVER: Final = "observer"

VERSION: Final = "2026-03-12"
# What the license is called in the scheme's settings and in the manifest -> (label, version) in the Registry.
LICENSES: Final = {
    "electricity": ("energy-consumption-data", "2024-12-05"),
    "electricity_and_gas": ("energy-consumption-edp-cap", VERSION),
    "one_permission": ("energy-consumption-emissions-edp-cap-fsp", VERSION),
    "emissions": ("emissions-cap-fsp", VERSION),
}


@dataclass(frozen=True)
class MemberEntry:
    """A made-up member of the scheme. Without a brand name, its legal name is shown."""

    id: str
    legal_name: str
    brand_name: str | None
    roles: tuple[str, ...]


@dataclass(frozen=True)
class ApplicationEntry:
    """An application of a member. `fault` says in which one way its certificate is bad; `meets` is the contract's.

    `delivery` is where its messages go: the port of a door, the sandbox's own inbox, or nowhere.
    """

    id: str
    member: str
    title: str
    roles: tuple[str, ...]
    delivery: str | None = None
    fault: str | None = None
    meets: str | int | None = None


MEMBERS: Final = {
    "edp": MemberEntry("hb6v3n0k", "Hartlebury Metering Services Ltd", "Hartlebury Meters", (roles.EDP,)),
    "edp2": MemberEntry("nq2d8x4c", "Northmoor Data Services Ltd", None, (roles.EDP,)),
    "cap": MemberEntry("tl7f1w9s", "Tallyleaf Accounting Ltd", "Tallyleaf", (roles.CAP,)),
    "cap2": MemberEntry("qm5r0j3z", "Quillmark Carbon Ltd", "Quillmark", (roles.CAP,)),
    "fsp": MemberEntry("wb4k2y8e", "Wharfside Bank plc", "Wharfside Bank", (roles.FSP,)),
    "fsp2": MemberEntry("el9p6h1v", "Ember Lane Finance Ltd", None, (roles.FSP,)),
    "cap_fsp": MemberEntry("lw3c7t5a", "Lanternworks Ltd", "Lanternworks", (roles.CAP, roles.FSP)),
    "contrary": MemberEntry("cc8g4m2u", "Contrary Certificates Ltd", None, (roles.EDP, roles.CAP, roles.FSP, OBSERVER)),
    "operator": MemberEntry("so1n9b6r", "Sandbox Operator Ltd", None, (OBSERVER,)),
}

# Each bad certificate holds every role, so that no door finds a second reason to refuse it.
_EVERY_ROLE = (roles.EDP, roles.CAP, roles.FSP)

#: The clients of the manifest.
CLIENTS: Final = {
    "cap": ApplicationEntry("s4d8k1qz", "cap", "Tallyleaf batch reader", (roles.CAP,), "cap_mutual_tls"),
    "cap2": ApplicationEntry("g7v2m5xn", "cap2", "Quillmark reader", (roles.CAP,), "inbox"),
    "fsp": ApplicationEntry("b9t3w6pc", "fsp", "Wharfside lending desk", (roles.FSP,), "fsp_mutual_tls"),
    "fsp2": ApplicationEntry("y1h5z8jr", "fsp2", "Ember Lane lending desk", (roles.FSP,), "inbox"),
    "edp": ApplicationEntry("e3n7f2vd", "edp", "Hartlebury operations", (roles.EDP,)),
    "edp2": ApplicationEntry("u6c0x4ms", "edp2", "Northmoor operations", (roles.EDP,)),
    "cap_fsp": ApplicationEntry("k8q1a5wt", "cap_fsp", "Lanternworks suite", (roles.CAP, roles.FSP), "inbox"),
    "expired": ApplicationEntry("x2e5r9hn", "contrary", "An expired certificate", _EVERY_ROLE, None, "expired", "tls"),
    "revoked": ApplicationEntry("r6j3v0kb", "contrary", "A revoked certificate", _EVERY_ROLE, None, "revoked", 401),
    "no_role": ApplicationEntry("n4w8p1yc", "contrary", "A role for no door", (OBSERVER,), None, "no_role", 403),
    "self_signed": ApplicationEntry(
        "f7s2d6qm", "contrary", "A self-signed certificate", _EVERY_ROLE, None, "self_signed", "tls"
    ),
    "wrong_ca": ApplicationEntry(
        "w9a4z3tx", "contrary", "A stranger's certificate", _EVERY_ROLE, None, "wrong_ca", "tls"
    ),
    "two_uris": ApplicationEntry(
        "d1u7b5gv", "contrary", "Two URIs in one certificate", _EVERY_ROLE, None, "two_uris", 401
    ),
}

#: The applications of the sandbox's own services; none of them is a client of the manifest.
SERVICES: Final = {
    "edp_service": ApplicationEntry("m5x9c2je", "edp", "Hartlebury consent server", (roles.EDP,)),
    "cap_portal": ApplicationEntry("p0k4t7ws", "cap", "Tallyleaf portal", (roles.CAP,), "cap_mutual_tls"),
    "fsp_service": ApplicationEntry("v8d6n3ha", "fsp", "Wharfside green loans", (roles.FSP,), "fsp_mutual_tls"),
    "two_uris_second": ApplicationEntry("z3y1e8rp", "contrary", "The second of two URIs", _EVERY_ROLE),
    # Looks at the doors' /ready, which ask for no role.
    "watcher": ApplicationEntry("o2g5q7bk", "operator", "Sandbox control", (OBSERVER,)),
}

APPLICATIONS: Final = CLIENTS | SERVICES


@dataclass(frozen=True)
class Layout:
    """The sandbox in `directory` (absolute) whose first listener is at `base_port`."""

    directory: Path
    base_port: int

    # origins

    def port(self, service: str) -> int:
        """Return the port of a service: a name in PORTS."""
        return self.base_port + PORTS[service]

    def origin(self, service: str) -> str:
        return f"https://{HOST}:{self.port(service)}"

    @property
    def registry(self) -> str:
        return f"{self.origin('trust')}/registry"

    @property
    def directory_url(self) -> str:
        """Return the base URL of the Directory (`directory` is the folder on disk)."""
        return f"{self.origin('trust')}/directory"

    @property
    def trust_framework(self) -> str:
        return f"{self.registry}/trust-framework"

    @property
    def intensity(self) -> str:
        """Return the base URL of grid intensity, without /regional/intensity/…"""
        return f"{self.origin('trust')}/intensity"

    @property
    def revocation_list_url(self) -> str:
        return f"{self.origin('trust')}/crl/client.crl"

    @property
    def control(self) -> str:
        return f"{self.origin('trust')}/sandbox"

    @property
    def mail(self) -> str:
        return f"{self.control}/mail"

    @property
    def customers(self) -> str:
        """Return the issuer of the log-in of the EDP's customers."""
        return f"{self.origin('trust')}/customers"

    # identifiers

    @property
    def scheme(self) -> str:
        return f"{self.registry}/scheme/perseus"

    def member(self, name: str) -> str:
        """Return the URL of a member: a name in MEMBERS."""
        return f"{self.directory_url}/m/{MEMBERS[name].id}"

    def application(self, name: str) -> str:
        """Return the URL of an application: a name in APPLICATIONS."""
        return f"{self.directory_url}/a/{APPLICATIONS[name].id}"

    def member_of(self, application: str) -> str:
        """Return the URL of the member that has an application."""
        return self.member(APPLICATIONS[application].member)

    def role(self, name: str) -> str:
        return roles.url(self.registry, name)

    def roles_of(self, application: str) -> list[str]:
        """Return the role URLs in an application's certificate."""
        return [self.role(name) for name in APPLICATIONS[application].roles]

    def license(self, name: str) -> str:
        """Return the URL of a license: a name in LICENSES."""
        label, version = LICENSES[name]
        return f"{self.scheme}/license/{label}/{version}"

    @property
    def consumption_standard(self) -> str:
        return f"{self.scheme}/standard/energy-consumption-data/{VERSION}"

    @property
    def emissions_standard(self) -> str:
        return f"{self.scheme}/standard/emissions-report/{VERSION}"

    def issuer(self, party: str) -> str:
        """Return the OAuth issuer of "edp" or "cap" (for the FSP, which has none, its public origin)."""
        return self.origin(f"{party}_public")

    def resource(self, party: str) -> str:
        """Return the base URL of the data of "edp" (/datasources…) or "cap" (/emissions)."""
        return self.origin(f"{party}_mutual_tls")

    def data_service(self, party: str) -> str:
        """Return the catalogue entry of that resource: the `service` of provenance transfers."""
        return f"{self.directory_url}/catalogue/{'energy-consumption-data' if party == 'edp' else 'emissions-report'}"

    def message_delivery(self, application: str) -> str | None:
        """Return where an application's messages are POSTed; None if it gets none."""
        delivery = APPLICATIONS[application].delivery
        if delivery is None:
            return None
        return f"{self.control}/messages/{application}" if delivery == "inbox" else f"{self.origin(delivery)}/messages"

    # files

    @property
    def manifest(self) -> Path:
        return self.directory / "manifest.json"

    @property
    def clock(self) -> Path:
        """Return the file with the clock's offset, which every process maps."""
        return self.directory / "clock"

    @property
    def ready(self) -> Path:
        """Return the file that exists once the sandbox is ready."""
        return self.directory / "ready"

    @property
    def authority(self) -> Path:
        return self.directory / "trust"

    @property
    def revocation_list(self) -> Path:
        """Return the file of the list itself (DER), served at `revocation_list_url`."""
        return self.directory / "trust" / "client.crl"

    @property
    def revoked(self) -> Path:
        """Return the file from which the list is made."""
        return self.directory / "trust" / "revoked.json"

    @property
    def memberships(self) -> Path:
        """Return the file that names which members are suspended and which applications are withdrawn; absent while none is."""
        return self.directory / "trust" / "memberships.json"

    @property
    def scenarios(self) -> Path:
        """Return the file of the scenarios that were chosen; absent until one is."""
        return scenarios_in(self.directory)

    @property
    def client_scenarios(self) -> Path:
        """Return the folder of what clients are to meet and have met; absent until one is to."""
        return self.directory / "clients"

    @property
    def mailbox(self) -> Path:
        return self.directory / "mail.jsonl"

    @property
    def messages(self) -> Path:
        """Return the file of what arrived at the sandbox's inbox for applications that run no service."""
        return self.directory / "messages.jsonl"

    @property
    def sign_in_codes(self) -> Path:
        """Return the file that maps e-mail addresses to fixed sign-in codes."""
        return self.directory / "cap" / "sign_in_codes.json"

    @property
    def customers_secret(self) -> Path:
        """Return the file of the EDP's client secret at its customers' log-in."""
        return self.directory / "edp" / "keys" / "customers_secret"

    @property
    def bank(self) -> Path:
        """Return the file of what the FSP needs about its CAP besides its settings."""
        return self.directory / "fsp" / "bank.json"

    def party(self, party: str) -> Path:
        """Return the folder of "edp", "cap" or "fsp"."""
        return self.directory / party

    def settings(self, party: str) -> Path:
        return self.party(party) / "settings.toml"

    def database(self, party: str) -> Path:
        """Return the SQLite file of a party, where no server is named."""
        return self.party(party) / "database.sqlite"

    def withdrawal_journal(self, party: str) -> Path:
        return self.party(party) / "withdrawals.jsonl"

    def certificate(self, application: str, file: str) -> Path:
        """Return a file of an application's client certificate: "certificate", "key" or "chain"."""
        return self.authority / "client" / application / f"{file}.pem"

    def signing_certificate(self, application: str, file: str) -> Path:
        return self.authority / "signing" / application / f"{file}.pem"

    def server_certificate(self, file: str) -> Path:
        return self.authority / "server" / HOST / f"{file}.pem"


def scenarios_in(directory: Path) -> Path:
    """Return the file of scenarios of the sandbox in a directory."""
    return directory / "edp" / "scenarios.json"
