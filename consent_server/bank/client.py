"""A bank as a carbon accounting provider's client: ask for a permission, read emissions with it, and forget when it ends.

Network and OAuth are in outbound/upstream.py. Data are kept in the bank's own store, tokens encrypted. Any method that calls
out raises Unreachable (outbound/errors.py) or a subclass; nothing was changed then.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any, Final, Literal, Protocol
from urllib.parse import urlencode

from cryptography import x509

from consent_server import audit, clock
from consent_server.bank.held import Deletion, HeldPermission, PermissionState, PermissionStore
from consent_server.bank.settings import BankSettings
from consent_server.bank.verified import EmissionsCall, EmissionsNotVerified, VerifiedEmissions, together, verified
from consent_server.caller import catalogue
from consent_server.caller.identify import Callers
from consent_server.caller.membership import acts_as
from consent_server.caller.message import MessageNotYours, sent_message, withdrawn_token
from consent_server.outbound.directory import DataService, Directory
from consent_server.outbound.errors import BadAnswer, NotReady, OAuthRefused, TokenRefused, Unreachable
from consent_server.outbound.session import MIB, Response, Session
from consent_server.outbound.upstream import Metadata, Pushed, Upstream
from consent_server.scheme import instant
from consent_server.scheme.provenance.steps import EMISSIONS_PATH, window_parameters
from consent_server.settings import Settings
from consent_server.tokens.sealing import Sealer

#: Bytes of one answer, and of all parts of a window together; seconds after which no further part is asked for.
_LARGEST_ANSWER: Final = 32 * MIB
_LARGEST_TOGETHER: Final = 64 * MIB
_LONGEST_S: Final = 120
#: What `detail` says of a window that has more behind it than one answer can hold (registered emissions API, 422).
_TOO_LONG: Final = "report_too_long"
_RETRY_S: Final = 60
#: A message may quote a refresh token that was replaced since: so many of the newest are known.
_MOST_MACS: Final = 50
_NO_GRANT: Final = "The provider does not know this permission any more."


class PermissionNotLive(Exception):
    """The permission is no longer live: `state` says why. What was held of a withdrawn one is deleted."""

    def __init__(self, state: PermissionState) -> None:
        super().__init__(state)
        self.state = state


class BankOutside(Protocol):
    """What a bank calls through and judges by: BankConnections, for one."""

    @property
    def settings(self) -> Settings | BankSettings: ...
    @property
    def session(self) -> Session: ...
    @property
    def directory(self) -> Directory: ...
    @property
    def upstream(self) -> Upstream: ...
    @property
    def callers(self) -> Callers: ...
    @property
    def signing_root(self) -> x509.Certificate: ...


class Bank:
    """The client of any carbon accounting provider. It asks under one license, unless a call names another."""

    def __init__(self, outside: BankOutside, store: PermissionStore, *, license: str, callback: str) -> None:
        """`license` is the license that is asked for, `callback` the redirect URI. Raise BadSealingKey."""
        self._outside = outside
        self._store = store
        self._license = license
        self._callback = callback
        self._sealer = Sealer.from_file(outside.settings.keys.sealing)

    def provider(self, issuer: str) -> DataService:
        """Return the emissions service of an issuer, from the Directory's catalogue (`caller.catalogue`). Raise Unreachable."""
        settings = self._outside.settings
        scheme, at = settings.scheme, clock.now()

        @cache
        def granted_by() -> set[tuple[str, str]]:
            # Once, and only if a claim is disputed: members write as many as they like.
            return {(each.issuer, each.member) for each in self._store.all() if each.state(at) == "live"}

        def is_known(claim: DataService) -> bool:
            return (claim.issuer, claim.member) in granted_by()

        listed = catalogue.entries(
            self._outside.directory, settings, scheme.emissions_standard, scheme.cap_roles, at, is_known
        )
        found = next((each.service for each in listed if each.issuer == issuer), None)
        if found is None:
            raise Unreachable("not in the catalogue", "directory")
        return found

    def _service_of(self, held: HeldPermission) -> DataService:
        """Return the service of the member that granted a permission, whoever else claims its issuer. Raise Unreachable."""
        settings, directory = self._outside.settings, self._outside.directory
        listed = directory.data_services(settings.scheme.emissions_standard)
        granted = (held.issuer, held.member)
        found = next((each for each in listed if (each.issuer, each.member) == granted), None)
        if found is None:
            raise Unreachable("not in the catalogue", "directory")
        if not acts_as(directory.member(found.member), settings.scheme.cap_roles, settings, clock.now()):
            # Perseus Scheme Agreement: who may act in the scheme, and until when
            raise Unreachable("may not act in the scheme", "directory")
        return found

    # A permission

    def ask(self, issuer: str, *, license: str = "", login_hint: str = "") -> Pushed:
        """Push a request. Send the browser to `authorization_url`; keep `state`, `code_verifier` and `license` in its session.

        `license` and `login_hint` are those that a provider has led the browser here with (OpenID Connect Core 4): the license
        is for the bank to know, the hint goes back as it came. Raise OAuthRefused, Unreachable.
        """
        upstream = self._outside.upstream
        beside = {"login_hint": login_hint} if login_hint else {}
        return upstream.push(upstream.metadata(issuer), license or self._license, self._callback, beside)

    def answered(
        self, issuer: str, query: str, state: str, code_verifier: str, reference: str = "", *, license: str = ""
    ) -> HeldPermission:
        """Redeem what came back to the callback for this browser's request, and keep the permission under a new id.

        `query` is as it came, without `?`; `reference` the bank's own name for its customer, `license` that of the
        request. Take each state once. Raise CallbackRefused, OAuthRefused (`access_denied`: the business said no), Unreachable.
        """
        upstream, license = self._outside.upstream, license or self._license
        code = upstream.callback(issuer, query, state)
        metadata, member = upstream.metadata(issuer), self.provider(issuer).member
        tokens = upstream.redeem(metadata, self._callback, license, code, code_verifier)
        if tokens.refresh_token is None or tokens.fault is not None:
            if tokens.refresh_token is not None:
                # The business would have given a permission that nobody can use, and that no message could end here.
                with suppress(Unreachable):
                    upstream.revoke(metadata, tokens.refresh_token)
            raise tokens.fault or BadAnswer("no refresh token", "-", 200)
        mac = self._sealer.mac(tokens.refresh_token)
        self._require_own(mac)
        held = HeldPermission(
            id=secrets.token_hex(8),
            issuer=issuer,
            member=member,
            license=license,
            reference=reference,
            granted=clock.now(),
            sealed_token=self._sealer.seal(tokens.refresh_token),
            macs=(mac,),
        )
        self._store.put(held)
        return held

    def fetch(self, permission: str, start: int, end: int) -> HeldPermission:
        """Read the whole months from `start` to before `end` (first instants of months), verify them, and keep the answer.

        A window with more behind it than one answer can hold (`report_too_long`) is read in parts, which are kept with a line
        feed between them; all of them together are bounded in bytes and time.
        What does not verify leaves a `fault` in the place of figures. Raise LookupError for an unknown id, PermissionNotLive,
        NotReady (`retry_after` seconds), TokenRefused, OAuthRefused, EmissionsNotVerified, Unreachable.
        """
        held = self._store.get(permission)
        if held is None:
            raise LookupError("no such permission")
        if held.state(clock.now()) != "live":
            raise PermissionNotLive(held.state(clock.now()))
        metadata, service = self._outside.upstream.metadata(held.issuer), self._service_of(held)
        try:
            held = self._recorded(held, metadata)
            bodies: list[bytes] = []
            parts: list[VerifiedEmissions] = []
            for window, body in self._emissions(service, self._access_token(held, metadata), start, end):
                # Before the next part is asked for: a provider whose answers do not verify sends one.
                parts.append(verified(body, self._call(held, service, *window)))
                bodies.append(body)
        except OAuthRefused as refused:
            if refused.error == "invalid_grant":
                self._refused(held)
            raise
        except EmissionsNotVerified as error:
            fault = f"Not verified: {error}."
            self._change(held.id, lambda now: replace(now, emissions=None, fault=fault))
            raise
        kept = b"\n".join(bodies)
        found = together(parts, kept)
        return self._change(held.id, lambda now: replace(now, answer=kept, emissions=found, fault=""))

    def _recorded(self, held: HeldPermission, metadata: Metadata) -> HeldPermission:
        """Return the permission with what its record says. Raise PermissionNotLive when that is its end."""
        record = self._outside.upstream.permission_record(metadata, self._sealer.unseal(held.sealed_token))
        if record.license != held.license or held.account not in ("", record.account):
            raise BadAnswer("permission record of another permission", "-", 200)
        if record.revoked:
            self._delete(held.id, "permission record", held.member, metadata.issuer)
            raise PermissionNotLive("withdrawn")
        held = self._change(held.id, lambda now: replace(now, account=record.account, expires=record.expires))
        if held.state(clock.now()) != "live":
            raise PermissionNotLive("expired")
        return held

    def _access_token(self, held: HeldPermission, metadata: Metadata) -> str:
        before = self._sealer.unseal(held.sealed_token)
        tokens = self._outside.upstream.refresh(metadata, held.license, before)
        if tokens.refresh_token not in (None, before):
            # RFC 6749 section 6: the one before has ended, so that the new one is kept before anything else can fail.
            fresh = str(tokens.refresh_token)
            sealed, mac = self._sealer.seal(fresh), self._sealer.mac(fresh)
            self._require_own(mac, held.id)
            self._change(held.id, lambda now: replace(now, sealed_token=sealed, macs=(mac, *now.macs)[:_MOST_MACS]))
        return tokens.access_token

    def _require_own(self, mac: str, permission: str = "") -> None:
        """Require of a refresh token that no other permission has it or had it.

        A message names a permission by its token alone: one that two share would end one of them, and keep the other.
        """
        owner = self._store.by_mac(mac)
        if owner is not None and owner.id != permission:
            raise BadAnswer("refresh token of another permission", "-", 200)

    def _refused(self, held: HeldPermission) -> None:
        """Keep that the issuer refused the token of `held`, unless another process has replaced it since."""
        refused = held.sealed_token
        self._change(
            held.id,
            lambda now: now if now.sealed_token != refused else replace(now, emissions=None, fault=_NO_GRANT),
        )

    def _emissions(
        self, service: DataService, access_token: str, start: int, end: int
    ) -> Iterator[tuple[tuple[int, int], bytes]]:
        """Yield the answers for the months of a window, with the window of each: halves of one that is too long.

        No window is asked for twice, so that there are fewer than two calls for each month.
        """
        windows, left, ends = [(start, end)], _LARGEST_TOGETHER, clock.ticks() + _LONGEST_S
        while windows:
            if clock.ticks() > ends:
                raise Unreachable("time", service.endpoint)
            window = windows.pop()
            query = urlencode(window_parameters(*window), safe=":")
            url = f"{service.endpoint.rstrip('/')}{EMISSIONS_PATH}?{query}"
            answer = self._outside.session.get(url, bearer=access_token, limit=min(left, _LARGEST_ANSWER))
            if answer.status == 202:
                raise NotReady(answer.host, answer.retry_after(_RETRY_S))
            if answer.status == 401:
                raise TokenRefused("status 401", answer.host, 401)
            halves = _halves(*window)
            if halves and _is_too_long(answer):
                windows += reversed(halves)
                continue
            body = answer.must_be(200).body
            left -= len(body)
            if left <= 0:
                raise Unreachable("too_large", answer.host)
            yield window, body

    def _call(self, held: HeldPermission, service: DataService, start: int, end: int) -> EmissionsCall:
        settings = self._outside.settings
        return EmissionsCall(
            registry=settings.scheme.registry,
            trust_framework=settings.scheme.trust_framework,
            signing_root=self._outside.signing_root,
            recipient=settings.member.url,
            provider=service.member,
            application=service.application or "",
            service=service.id,
            edp_roles=settings.scheme.edp_roles,
            cap_roles=settings.scheme.cap_roles,
            consumption_standard=settings.scheme.consumption_standard,
            emissions_standard=settings.scheme.emissions_standard,
            license=held.license,
            account=held.account,
            start=start,
            end=end,
            at=clock.now(),
        )

    def _change(self, permission: str, edit: Callable[[HeldPermission], HeldPermission]) -> HeldPermission:
        """Change a permission unless it has been withdrawn meanwhile. Raise PermissionNotLive."""
        held = self._store.change(permission, lambda now: now if now.deletion else edit(now))
        if held.deletion:
            raise PermissionNotLive("withdrawn")
        return held

    # The end

    def receive(self, environ: Mapping[str, Any], read: Callable[[int], bytes]) -> Deletion | None:
        """Act on one message: judge its sender, then read it, then delete what the permission gave.

        `environ` is the request's WSGI environment, `read` returns at most so many bytes of its body. Return the proof; None
        for a token that is not held, or no longer, which is accepted like any (Message Delivery). Raise a Refusal, which has
        status and document of the answer.
        """
        scheme = self._outside.settings.scheme
        sender = self._outside.callers.identify(environ, scheme.cap_roles, clock.now())
        token = withdrawn_token(sent_message(environ, read), scheme.withdrawal_subjects)
        held = self._store.by_mac(self._sealer.mac(token))
        if held is not None and held.member != sender.member:
            raise MessageNotYours(f"permission {held.id} is of {held.member}, not {sender.member}")
        deletion = self._delete(held.id, "message", sender.member, sender.application) if held is not None else None
        effect = "nothing" if deletion is None else "withdrawn"
        audit.event("message_accepted", sender=sender.application, subject=held.id if held else "-", effect=effect)
        return deletion

    def _delete(
        self, permission: str, said_by: Literal["message", "permission record"], sender: str, application: str
    ) -> Deletion | None:
        """Delete token and answer, and keep the proof in their place; None when that was done before."""
        made: list[Deletion] = []

        def once(now: HeldPermission) -> HeldPermission:
            if now.deletion is not None:
                return now
            proof = Deletion(
                permission=now.id,
                reference=now.reference,
                at=clock.now(),
                said_by=said_by,
                sender=sender,
                application=application,
                what=("refresh token", "emissions and their provenance") if now.answer else ("refresh token",),
                sha256=hashlib.sha256(now.answer).hexdigest() if now.answer else "",
                size=len(now.answer),
            )
            made.append(proof)
            return replace(now, sealed_token=b"", macs=(), answer=b"", emissions=None, fault="", deletion=proof)

        self._store.change(permission, once)
        return made[0] if made else None


def _is_too_long(answer: Response) -> bool:
    """Return whether a shorter window may be answered; any other 422 says what is wrong with this one and with its halves."""
    if answer.status != 422:
        return False
    try:
        detail = answer.object().get("detail")
    except BadAnswer:
        return False
    return isinstance(detail, list) and any(isinstance(each, dict) and each.get("type") == _TOO_LONG for each in detail)


def _halves(start: int, end: int) -> list[tuple[int, int]]:
    """Return a window of several months in two; nothing for a single month."""
    months = [start]
    while (month := instant.next_month(months[-1])) < end:
        months.append(month)
    middle = months[len(months) // 2]
    return [(start, middle), (middle, end)] if start < middle else []


def last_months(count: int) -> tuple[int, int]:
    """Return the window of the last `count` whole months: first instants of months."""
    end = instant.month_start(clock.now())
    return instant.months_later(end, -count), end
