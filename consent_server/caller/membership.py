"""Whether a caller's membership is still active, its application still listed, and its agreement with the scheme in force.

A certificate states what was true when it was issued; the Directory states what is true now. Its entries are kept as long as
its headers allow, and for a week while it is unavailable (`outbound.directory`). Each process remembers its verdict on an
application for `clients.membership_s` seconds, so that a request costs one dictionary look-up.
"""

import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from consent_server.outbound.directory import Directory, Member, is_member_url
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.settings import MembersSettings
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal, Unavailable
from consent_server.scheme.instant import DAY
from consent_server.settings import Settings

log = logging.getLogger("consent_server.membership")

# An unavailable Directory is tried again after this many seconds at the earliest, since each attempt may time out.
_ASK_AGAIN_S: Final = 10
_REMEMBERED: Final = 1024


class MembershipRefused(Refusal):
    """Branch of the family: a good certificate whose holder is no longer a member in good standing."""

    error = "unauthorized_client"
    status = 403


class MembershipSuspended(MembershipRefused):
    code = "membership_suspended"
    public = "The Directory does not show an active membership of the trust framework for this member."
    help = (
        "Look at your member entry in the Directory: the membership is suspended, has expired or has ended. A renewed "
        "membership takes effect within minutes, as the Directory's Cache-Control says."
    )
    clause = "Member Identity Digital Certificates; trust framework membership"


class ApplicationWithdrawn(MembershipRefused):
    code = "application_withdrawn"
    public = "The Directory does not list the application of this certificate for this member."
    help = (
        "Look at your application in the Directory: it was removed, or belongs to another member. Register it again, "
        "or use the certificate of an application that is listed."
    )
    clause = "Member Identity Digital Certificates; OAuth with Member Identity Certificates"


class AgreementLapsed(MembershipRefused):
    code = "agreement_lapsed"
    public = "The Directory does not show an agreement with the scheme that is in force for this member in this role."
    help = (
        "Look at your scheme memberships in the Directory: the agreement has ended, was never executed, or does not "
        "list the role (orgRoles). A renewed agreement takes effect within minutes, as the Directory's Cache-Control "
        "says."
    )
    clause = "Perseus Scheme Agreement; Data Catalog Publishing (Validation); Trust Framework Roles"


class MembershipUnknown(Unavailable):
    code = "membership_unknown"
    public = "The server cannot look this member up in the Directory just now; try again after the time in Retry-After."
    help = (
        "Try again later. Operators: the Directory has never returned an entry for this client; see the log, and "
        "clients.unknown_membership for what happens meanwhile."
    )
    clause = "Member Identity Digital Certificates; RFC 9110 15.6.4"


@dataclass(frozen=True)
class _Verdict:
    """The verdict of the instant `at`, used until `until`. `member` is its entry, where the Directory returned it."""

    refusal: type[Refusal] | None
    private: str
    at: int
    until: int
    member: Member | None = None


def may_act(member: Member, roles: Collection[str], settings: MembersSettings, at: int) -> bool:
    """Return whether a member may act in one of these roles of the scheme: an agreement permits it, or none is required.

    A member without an agreement in force is logged once a day where the settings do not refuse it.
    """
    if member.has_agreement(roles, at):
        return True
    if settings.clients.refuses_lapsed(sandbox=settings.is_sandbox):
        return False
    _warn_of_agreement(member.url, at // DAY)
    return True


def acts_as(member: Member, accepted: Collection[str], settings: MembersSettings, at: int) -> bool:
    """Return whether a member is active, holds one of these roles, and may act in it by its agreement with the scheme."""
    roles = set(member.roles) & set(accepted)
    return bool(roles) and member.membership_ok and may_act(member, roles, settings, at)


def is_bank(directory: Directory, settings: Settings, url: str, at: int) -> bool:
    """Return whether a URL is that of a member that acts as a bank. A text that cannot be a member's URL is not looked up.

    Raise MembershipUnknown while the Directory cannot say.
    """
    if not is_member_url(url, settings):
        return False
    try:
        member = directory.member(url)
    except Unreachable as error:
        if error.is_wrong:
            return False
        raise MembershipUnknown(str(error)) from None
    return acts_as(member, settings.scheme.fsp_roles, settings, at)


@lru_cache(maxsize=1024)
def _warn_of_agreement(member: str, _day: int) -> None:
    log.warning(
        "%s has no agreement with the scheme in force for its role; clients.lapsed_agreements accepts it", member
    )


class _Remembered:
    """The last verdict on an application, and the lock of the thread that looks for the next one."""

    def __init__(self) -> None:
        self.verdict: _Verdict | None = None
        self.looking = threading.Lock()  # named here: a field's factory would be bound before gevent patches it


class Memberships:
    """Judges callers by the Directory. Threads share it."""

    def __init__(self, settings: MembersSettings, directory: Directory) -> None:
        self._directory = directory
        self._settings = settings
        self._remember_s = settings.clients.membership_s
        self._refuse_unknown = settings.clients.unknown_membership == "refuse"
        self._remembered: dict[tuple[str, str], _Remembered] = {}
        self._lock = threading.Lock()

    def require(self, caller: MemberCertificate, at: int) -> None:
        """Raise MembershipSuspended, ApplicationWithdrawn, and MembershipUnknown where the settings refuse that."""
        verdict = self._verdict(caller, at)
        if verdict.refusal is not None:
            raise verdict.refusal(verdict.private)

    def require_agreement(self, caller: MemberCertificate, roles: Collection[str], at: int) -> None:
        """Raise AgreementLapsed unless the caller may act in one of these roles of the scheme, of those it holds."""
        member = self._verdict(caller, at).member
        own = caller.roles & set(roles)
        if member is not None and not may_act(member, own, self._settings, at):
            raise AgreementLapsed(f"{caller.member} has no agreement in force for {', '.join(sorted(own))}")

    def _verdict(self, caller: MemberCertificate, at: int) -> _Verdict:
        who = (caller.application, caller.member)
        remembered = self._remembered.get(who) or self._remember(who)
        verdict = remembered.verdict
        if verdict is None or not verdict.at <= at < verdict.until:
            verdict = self._look(who, remembered, verdict, at)
        return verdict

    def _remember(self, who: tuple[str, str]) -> _Remembered:
        with self._lock:
            remembered = self._remembered.setdefault(who, _Remembered())
            if len(self._remembered) > _REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
        return remembered

    def _look(self, who: tuple[str, str], remembered: _Remembered, before: _Verdict | None, at: int) -> _Verdict:
        # One thread looks. The others use the last verdict meanwhile, and wait only if there is none.
        if not remembered.looking.acquire(blocking=before is None):
            assert before is not None
            return before
        try:
            found = remembered.verdict
            if found is not before and found is not None and found.at <= at < found.until:
                return found
            remembered.verdict = self._judge(*who, at)
            return remembered.verdict
        finally:
            remembered.looking.release()

    def _judge(self, application: str, member: str, at: int) -> _Verdict:
        until = at + self._remember_s
        looked_up: str = application
        refusal: type[MembershipRefused] = ApplicationWithdrawn
        try:
            if self._directory.application(application).member != member:
                return _Verdict(ApplicationWithdrawn, f"{application} is another member's", at, until)
            looked_up, refusal = member, MembershipSuspended
            entry = self._directory.member(member)
            if not entry.membership_ok:
                return _Verdict(MembershipSuspended, f"{member} has no active membership", at, until)
        except Unreachable as error:
            if error.gone:
                return _Verdict(refusal, f"{looked_up} is not in the Directory", at, until)
            return self._unknown(error, at)
        return _Verdict(None, "", at, until, entry)

    def _unknown(self, error: Unreachable, at: int) -> _Verdict:
        log.warning("a caller cannot be looked up (%s): %s", error, "refused" if self._refuse_unknown else "accepted")
        refusal = MembershipUnknown if self._refuse_unknown else None
        return _Verdict(refusal, str(error), at, at + min(_ASK_AGAIN_S, self._remember_s))
