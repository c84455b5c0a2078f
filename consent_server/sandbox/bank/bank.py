"""The bank's process: what any member's has, and the library for banks on top of it."""

from dataclasses import dataclass

from consent_server.bank.client import Bank
from consent_server.deployment import MemberProcess
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.errors import Unreachable
from consent_server.sandbox.bank.book import Book, PermissionBook
from consent_server.settings import Settings


@dataclass(frozen=True)
class CapAddresses:
    """The CAP that this bank works with: its issuer, its portal, the license that the bank asks for, and the combined one, for
    which it asks when the CAP leads a browser here."""

    issuer: str
    portal: str
    license: str
    combined: str


class BankProcess(MemberProcess):
    """The bank, and the book with its permissions and the applications under way."""

    def __init__(self, settings: Settings, cap: CapAddresses, book: Book) -> None:
        super().__init__(settings, MemoryCache(), polls=True)
        self.cap = cap
        self.book = book
        self.permissions = PermissionBook(book)
        callback = f"{settings.public.origin}/callback"
        self.bank = Bank(self, self.permissions, license=cap.license, callback=callback)

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
            return self.name_of(self.bank.provider(self.cap.issuer).member, words)
        except Unreachable:
            return words
