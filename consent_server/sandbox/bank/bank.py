"""The bank as its CAP's OAuth client: what it asks for, and how it verifies what it gets."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from consent_server import clock
from consent_server.deployment import MemberProcess
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.directory import DataService
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.session import MIB
from consent_server.sandbox.bank.book import Book, Entry
from consent_server.scheme import instant
from consent_server.scheme.provenance.container import VerifiedStep, verify
from consent_server.scheme.provenance.duties import ExpectedTransfer, receipt_check
from consent_server.scheme.provenance.steps import EMISSIONS_PATH, scheme_url, window_parameters
from consent_server.settings import Settings

REPORT_MONTHS: Final = 12
_LARGEST_ANSWER: Final = 32 * MIB


@dataclass(frozen=True)
class CapAddresses:
    """The CAP that this bank works with: its issuer, its portal, its data API and the license that the bank asks for."""

    issuer: str
    portal: str
    resource: str
    license: str


class Bank(MemberProcess):
    """The bank and its calls to its CAP."""

    def __init__(self, settings: Settings, cap: CapAddresses, book: Book) -> None:
        super().__init__(settings, MemoryCache(), polls=True)
        self.cap = cap
        self.book = book
        self.callback_uri = f"{settings.public.origin}/callback"

    def name_of(self, member: str, otherwise: str) -> str:
        """Return a member's name; `otherwise` while the Directory cannot be reached."""
        try:
            return self.directory.member(member).name
        except Unreachable:
            return otherwise

    def cap_name(self) -> str:
        """Return the CAP's name, or words for it while the Directory cannot be reached."""
        words = "your carbon accounting provider"
        try:
            return self.name_of(self.service().member, words)
        except Unreachable:
            return words

    def service(self) -> DataService:
        """Return the CAP's entry in the Directory's catalogue. Raise Unreachable."""
        listed = self.directory.data_services(self.settings.scheme.emissions_standard)
        found = next((each for each in listed if each.issuer == self.cap.issuer), None)
        if found is None:
            raise Unreachable("not in the catalogue", "directory")
        return found

    def emissions(self, refresh_token: str) -> Entry | None:
        """Return the last twelve whole months and who signed for them; None while the CAP is still working them out.

        Raise OAuthRefused, Unreachable, ProvenanceError.
        """
        metadata = self.upstream.metadata(self.cap.issuer)
        token = self.upstream.refresh(metadata, self.cap.license, refresh_token).access_token
        end = instant.month_start(clock.now())
        start = instant.months_later(end, -REPORT_MONTHS)
        query = urlencode({"from": instant.text(start), "to": instant.text(end)}, safe=":")
        answer = self.session.get(f"{self.cap.resource}/emissions?{query}", bearer=token, limit=_LARGEST_ANSWER)
        if answer.must_be(200, 202).status == 202:
            return None
        body = answer.object()
        steps = self._believed(body["provenance"], start, end) if body["data"] else []
        return {"months": _by_month(body["data"]), "signers": _signers(steps), "fetched": clock.now()}

    def _believed(self, record: object, start: int, end: int) -> list[VerifiedStep]:
        """Return the steps of a record whose signatures hold and whose transfer is the one that we asked for."""
        scheme, service = self.settings.scheme, self.service()
        steps = verify(record, scheme.trust_framework, self.signing_root)
        expected = ExpectedTransfer(
            recipients={self.settings.member.url},
            signer_member=service.member,
            signer_application=service.application or "",
            signer_role=scheme.cap_roles[0],
            scheme=scheme_url(scheme.registry),
            standard=scheme.emissions_standard,
            license=self.cap.license,
            service=service.id,
            path=EMISSIONS_PATH,
            parameters=window_parameters(start, end),
            at=clock.now(),
        )
        receipt_check(steps, expected)
        return steps


def _by_month(data: list[Entry]) -> list[Entry]:
    """Return [{"start", "electricity", "gas"}] in order: tonnes, and None for a fuel that is not in the data."""
    months: dict[int, Entry] = {}
    for each in data:
        start = instant.parse(each["from"])
        month = months.setdefault(start, {"start": start, "electricity": None, "gas": None})
        month[each["type"]] = each["emissions"]["value"] / 1000
    return [months[start] for start in sorted(months)]


def _signers(steps: list[VerifiedStep]) -> list[Entry]:
    """Return who signed, in the order of the data's way here: name, roles in words, and what was signed for."""
    found: dict[str, Entry] = {}
    for step in steps:
        signed = step["_signature"]["signed"]
        roles = [role.rstrip("/").rsplit("/", 1)[-1].replace("-", " ") for role in signed["roles"]]
        entry = found.setdefault(signed["application"], {"member": signed["member"], "roles": roles, "signed": {}})
        entry["signed"][step["type"]] = entry["signed"].get(step["type"], 0) + 1
    return list(found.values())
