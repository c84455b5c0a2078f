"""What both parties stand on: the same keys, calls out, checks on callers and limits, made once for each process."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from consent_server import clock, store
from consent_server.caller import arrival
from consent_server.caller.membership import Memberships
from consent_server.caller.trust import Trust
from consent_server.issuer import metadata
from consent_server.jobs import retention
from consent_server.jobs.work import Job
from consent_server.journey.parts import Asker, Grant, Limits, Storage
from consent_server.outbound.data import ConsumptionData
from consent_server.outbound.deliver import Delivery
from consent_server.outbound.directory import Directory
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.mail import Mail
from consent_server.outbound.registry import Registry
from consent_server.outbound.session import Session
from consent_server.outbound.upstream import Upstream
from consent_server.parties.revocations import RevocationList
from consent_server.parties.texts import Texts
from consent_server.pki.member_certificate import MemberCertificate, load_certificates
from consent_server.refusal import Unavailable
from consent_server.resource.guard import Guard, Policy
from consent_server.scheme import messages, roles
from consent_server.scheme.instant import DAY
from consent_server.scheme.licenses import GAS, License
from consent_server.scheme.provenance.container import Signer
from consent_server.settings import Settings
from consent_server.store import evidence, journeys, permissions
from consent_server.store.fetched import StoredCache
from consent_server.store.sealing import Sealer
from consent_server.tokens import refresh_token
from consent_server.tokens.keys import SigningKeys
from consent_server.tokens.refresh_token import RefreshKeys
from consent_server.web.limits import Limit, Several
from consent_server.web.sessions import Sessions
from consent_server.withdrawal.outbox import OutboxParts, Undeliverable, dispatch

#: How many windows' worth of wrong sign-in codes one account bears in a day.
CODES_A_DAY = 5


class Foundation:
    """One deployment's keys, connections and rules. Making one reads every key, so that a missing one stops the start."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cache = StoredCache()
        self.signing_keys = SigningKeys(settings.keys.tokens)
        self.signing_keys.current()
        self.refresh_keys = RefreshKeys(settings.keys.refresh)
        self.refresh_keys.current()
        self.sealer = Sealer.from_file(settings.keys.sealing)
        self.signer = Signer(settings.keys.signing_certificate.read_bytes(), settings.keys.signing_key.read_bytes())
        self.signing_root = load_certificates(settings.keys.signing_root.read_bytes())[0]
        self.session = Session(settings)
        self.directory = Directory(settings, self.session, self.cache)
        self.texts = Texts(settings, Registry(settings, self.session, self.cache), self.directory)
        self.revocations = RevocationList(settings, self.cache)
        self.trust = Trust(settings, self.revocations)
        self.memberships = Memberships(settings, self.directory)

    # who is calling

    def caller(self, environ: Mapping[str, Any]) -> MemberCertificate:
        """The member behind a request. Raises the refusals of `caller`, and those of `membership`."""
        at = clock.now()
        caller = self.trust.caller(arrival.arrived(environ, self.settings.clients), at)
        self.memberships.require(caller, at)
        return caller

    # what may be asked for

    @cached_property
    def licenses(self) -> dict[str, License]:
        """License URL -> the license, for each that this party's issuer accepts from the role that may ask for it."""
        return {
            each.url: License(
                url=each.url,
                label=each.label,
                text_sha256=each.text_sha256,
                fuels=frozenset(each.fuels),
                duration=each.duration,
                asked_by=roles.asks_for[each.label],
            )
            for each in self.settings.scheme.licenses
        }

    @property
    def released_licenses(self) -> dict[str, License]:
        """The same, for what leaves: without gas where the EDP has switched it off (`metering.gas`)."""
        if self.settings.metering.gas:
            return self.licenses
        return {url: replace(each, fuels=each.fuels - {GAS}) for url, each in self.licenses.items()}

    def guard(self, asking_roles: tuple[str, ...]) -> Guard:
        """The guard of the resource server that stands beside this issuer: it asks the store which permissions ended."""
        settings = self.settings
        policy = Policy(
            issuer=settings.issuer,
            audience=settings.mutual_tls.origin,
            status_uri=metadata.status_list_uri(settings),
            roles=asking_roles,
            licenses=self.released_licenses,
            bind_to_certificate=settings.tokens.bind_to_certificate,
        )
        return Guard(policy, self.signing_keys, lambda index, _iat: permissions.is_ended(index))

    # names

    @cached_property
    def brand(self) -> Callable[[], str]:
        """Our own name for the head of each page, from the Directory; a dash until it has answered once."""
        known: list[str] = []

        def name() -> str:
            if not known:
                try:
                    known.append(self.directory.member(self.settings.member.url).name)
                except Unreachable:
                    return "—"
            return known[0]

        return name

    def member_of(self, client_id: str) -> str:
        """The URL of the member whose application a client is. Raises Unavailable while the Directory never answered."""
        try:
            return self.directory.application(client_id).member
        except Unreachable as error:
            raise Unavailable(str(error)) from None

    def asker(self, client_id: str) -> Asker:
        """The member behind a client, by its names. Raises Unavailable."""
        try:
            member = self.directory.member(self.member_of(client_id))
        except Unreachable as error:
            raise Unavailable(str(error)) from None
        return Asker(member.name, member.legal_name)

    # journeys and grants, as the journey sees them

    def storage(self) -> Storage:
        def load(journey_id: str) -> Any:
            with store.reading() as c:
                return journeys.find(c, journey_id)

        def save(journey_id: str, at: int, progress: dict[str, Any] | None, claimed: int | None) -> None:
            with store.writing() as c:
                journeys.touch(c, journey_id, at, progress, claimed)

        def rotate(journey_id: str, secret: str) -> None:
            with store.writing() as c:
                journeys.rotate(c, journey_id, secret)

        return Storage(load=load, save=save, rotate=rotate)

    def grants_of(self, sme: str) -> list[Grant]:
        """All grants of an SME with their evidence, newest first."""
        with store.reading() as c:
            rows = [(row, evidence.of_subject(c, row.id)) for row in permissions.of_sme(c, sme)]
        return [Grant(row, seen) for row, seen in rows if seen is not None]

    def evidence(self, evidence_id: str) -> list[Grant]:
        """The grant with this evidence, then every other of the same SME to the same client."""
        with store.reading() as c:
            seen = evidence.find(c, evidence_id)
            row = permissions.find(c, seen.subject) if seen is not None else None
        if row is None:
            return []
        grants = [grant for grant in self.grants_of(row.sme) if grant.permission.client_id == row.client_id]
        return sorted(grants, key=lambda grant: grant.permission.id != row.id)

    # limits and sessions

    def limit(self, name: str, most: int, window_s: int | None = None) -> Limit:
        return Limit(name, most, window_s or self.settings.limits.window_s, store.reading, store.writing)

    def codes(self) -> Several:
        """Wrong sign-in codes for one account: a guesser who waits for each next window has used up the day before long."""
        most = self.settings.limits.sign_in_per_account
        return Several((self.limit("code", most), self.limit("code-day", CODES_A_DAY * most, DAY)))

    def limits(self) -> Limits:
        most = self.settings.limits
        return Limits(
            meter=self.limit("meter", most.identify_per_meter_per_day, DAY),
            journey=self.limit("journey", most.identify_per_journey),
            address=self.limit("address", most.identify_per_address),
            # The names that the portal's limits have: one code is guessed at through both, and one mailbox is filled.
            account=self.codes(),
            mail=self.limit("mail", most.sign_in_per_account),
            evidence=self.limit("evidence", most.unknown_requests_per_address),
        )

    def sessions(self, kind: str) -> Sessions:
        lifetimes = self.settings.lifetimes
        return Sessions(
            kind=kind,
            cookie=f"__Host-{self.settings.party}-{kind}",
            idle_s=lifetimes.portal_idle,
            life_s=12 * 3600,
            reading=store.reading,
            writing=store.writing,
        )

    # calls out

    @cached_property
    def upstream(self) -> Upstream:
        return Upstream(self.settings, self.session, self.cache)

    @cached_property
    def mail(self) -> Mail:
        return Mail(self.settings, self.session)

    def consumption(self, endpoint: str) -> ConsumptionData:
        return ConsumptionData(self.session, endpoint)

    def outbox_job(self) -> Job:
        delivery = Delivery(self.directory, self.session)
        scheme = self.settings.scheme

        def send(recipient: str, token: str) -> None:
            message = messages.withdrawal(scheme.trust_framework, scheme.withdrawal_subjects[0], token)
            try:
                delivery.send(recipient, message)
            except Unreachable as error:
                raise Undeliverable(str(error)) from None

        def revoke(connection: Any) -> None:
            try:
                token = self.sealer.unseal(connection.refresh_sealed)
                self.upstream.revoke(self.upstream.metadata(connection.issuer), token)
            except Unreachable as error:
                raise Undeliverable(str(error)) from None

        parts = OutboxParts(
            send=send,
            revoke=revoke,
            token_of=lambda row: refresh_token.text(self.refresh_keys, row.refresh_version, row.refresh_id),
            give_up_after=self.settings.jobs.give_up_after,
        )
        return Job("outbox", self.settings.jobs.outbox_s, lambda: dispatch(parts))

    def common_jobs(self) -> tuple[Job, ...]:
        jobs = self.settings.jobs
        return (
            Job(
                "revocation-list",
                self.settings.revocation_list.refresh_s,
                lambda: self.revocations.refresh(self.session),
            ),
            self.outbox_job(),
            Job("retention", jobs.retention_s, retention.apply),
        )

    def ready(self) -> dict[str, Callable[[], Any]]:
        def database() -> str:
            store.ping()
            return "ok"

        def keys() -> str:
            self.signing_keys.current()
            self.refresh_keys.current()
            return "ok"

        return {"database": database, "keys": keys, "revocation_list": self.revocations.ready}
