"""Who is calling: a request's certificate, and every check of its holder.

Issuer, resource server, inbox and a data API on another machine all use this.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from consent_server.caller.arrival import arrived
from consent_server.caller.membership import Memberships
from consent_server.caller.trust import Trust, require_role
from consent_server.outbound.directory import Directory
from consent_server.outbound.revocation_list import RevocationLists
from consent_server.outbound.settings import MembersSettings
from consent_server.pki.member_certificate import MemberCertificate

#: The application of the member that made the request in hand, once it has been identified; for what is counted by client.
identified: Final[ContextVar[str]] = ContextVar("identified", default="-")


class Callers:
    """Identifies callers, and remembers the verdicts on certificates and members. A process has one.

    Without `directory` the membership of callers is not looked up: a resource server elsewhere may choose this.
    """

    def __init__(self, settings: MembersSettings, revocations: RevocationLists, directory: Directory | None) -> None:
        self._clients = settings.clients
        self._trust = Trust(settings, revocations)
        self._memberships = Memberships(settings, directory) if directory is not None else None

    def identify(self, environ: Mapping[str, Any], roles: tuple[str, ...], at: int) -> MemberCertificate:
        """Return the caller's certificate, which arrived as configured, is trusted and not revoked, belongs to an active
        member, and holds one of `roles` (role URLs), in which its agreement with the scheme permits it to act.

        `environ` is the request's WSGI environment. Raise the refusals of `arrival`, `trust` and `membership`, then
        RoleMissing, and last AgreementLapsed.
        """
        if not roles:
            raise ValueError("an endpoint that requires no role would be open to every member")
        caller = self.member(environ, at)
        require_role(caller, roles)
        if self._memberships is not None:
            self._memberships.require_agreement(caller, roles, at)
        return caller

    def member(self, environ: Mapping[str, Any], at: int) -> MemberCertificate:
        """Return the same without requiring a role: for an endpoint that names its callers one by one (introspection)."""
        caller = self._trust.caller(arrived(environ, self._clients), at)
        if self._memberships is not None:
            self._memberships.require(caller, at)
        identified.set(caller.application)
        return caller
