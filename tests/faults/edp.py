"""What businesses and clients do at an EDP. Requests and journeys are put in the store; all that follows is the product's."""

import itertools
from collections import Counter
from typing import Any, NamedTuple

import sqlalchemy as sa

from consent_server import clock, store
from consent_server.issuer.decision import code_for
from consent_server.store import audit_events, evidence, journeys, outbox, permissions, requests, rows
from consent_server.store.digests import digest, new_id
from consent_server.store.rows import table_of
from consent_server.store.tables.journeys import Journey, PushedRequest
from consent_server.store.tables.owed import OwedCall
from consent_server.store.tables.permissions import AuthorizationCode, Permission
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.issuer.conftest import BOTH, REDIRECT, START, Decided, Granted, Issuer, answer_in, pkce

ENDINGS = ("permission_withdrawn", "permission_superseded")
_code = table_of(AuthorizationCode)
_CODE = sa.select(_code).where(_code.c.permission == sa.bindparam("permission_"))
NEWEST = 400
_numbers = itertools.count()


class Asked(NamedTuple):
    """A pushed request with journeys on it; `secret` is the same in each browser, and the journey makes its code its own."""

    verifier: str
    journeys: list[Journey]
    license: Any
    secret: str

    def decided(self, journey: Journey, sme: str) -> Decided:
        return Decided(
            sme=sme,
            raw_sha256=self.license.text_sha256,
            fuels=tuple(sorted(self.license.fuels)),
            code=code_for(journey.id, self.secret),
        )


def new_sme() -> str:
    return f"sme-{next(_numbers)}"


def asked(issuer: Issuer, license_: Any = BOTH, count: int = 1, client: Any = None) -> Asked:
    """What `push` and `count` times `open` leave in the store."""
    client, proof, handle, at = client or issuer.cap, pkce(), new_id(), clock.now()
    pushed = PushedRequest(
        digest=digest(handle),
        client_id=client.application,
        member=client.member,
        certificate=client.fingerprint,
        redirect_uri=REDIRECT,
        state="the state",
        license=license_.url,
        code_challenge=proof.challenge,
        created=at,
        expires=at + 90,
    )
    ids = [new_id() for _ in range(count)]
    with issuer.public.app_context(), store.writing() as c:
        requests.push(c, pushed)
        for each in ids:
            journeys.open(c, each, "secret", pushed, at)
        opened = [journeys.find(c, each) for each in ids]
    return Asked(proof.verifier, [each for each in opened if each is not None], license_, "secret")


def granted(issuer: Issuer, sme: str, license_: Any = BOTH, client: Any = None) -> Granted:
    ask = asked(issuer, license_, client=client)
    location = issuer.decide(ask.journeys[0], ask.decided(ask.journeys[0], sme))
    assert location is not None
    return granted_by(location, ask.verifier)


def granted_by(location: str, verifier: str) -> Granted:
    return Granted(answer_in(location)["code"], verifier, location, REDIRECT)


def tokens(issuer: Issuer, sme: str, license_: Any = BOTH, client: Any = None) -> dict[str, Any]:
    answer = issuer.redeem(granted(issuer, sme, license_, client), client)
    assert answer.status_code == 200, answer.text
    return dict(answer.get_json())


def withdrawn(issuer: Issuer, permission: str) -> list[str]:
    """What an SME's press of the button on /manage does."""
    with issuer.public.app_context():
        return withdraw(permission, Withdrawal("sme", "manage", "the SME withdrew"))


class Kept(NamedTuple):
    """One permission with all that the store holds about it."""

    permission: Permission
    code: AuthorizationCode | None
    has_evidence: bool
    grants: int
    endings: int
    owed: list[OwedCall]

    def is_of(self, code: str) -> bool:
        """Whether this is the digest of its code."""
        return self.code is not None and self.code.digest == code


def kept(issuer: Issuer, sme: str) -> list[Kept]:
    """What the store holds of one SME's permissions, oldest first."""
    with issuer.public.app_context(), store.reading() as c:
        # The newest are this SME's: a look-up by permission would read all that earlier trials left.
        events = Counter((event.event, event.fields.get("permission")) for event in audit_events.newest(c, NEWEST))
        return [
            Kept(
                row,
                rows.one(c, AuthorizationCode, _CODE, {"permission_": row.id}),
                evidence.of_subject(c, row.id) is not None,
                events["permission_granted", row.id],
                sum(events[name, row.id] for name in ENDINGS),
                outbox.of_subject(c, row.id),
            )
            for row in reversed(permissions.of_sme(c, sme))
        ]


def consistent(issuer: Issuer, sme: str, at: int = START) -> list[Kept]:
    """Assert that no act on this SME's permissions is half done; return what there is. `at` is the latest instant."""
    everything = kept(issuer, sme)
    for each in everything:
        row = each.permission
        assert each.has_evidence
        assert each.grants == 1
        assert each.code is not None
        assert each.code.redeemed == row.redeemed
        assert each.endings == (row.ended is not None)
        owed = row.ended_as == "withdrawn" and row.redeemed is not None and row.ended_by == "sme"
        assert [call.kind for call in each.owed] == ["message"] * owed
    redeemed = [each.permission for each in everything if each.permission.redeemed is not None]
    live = [row for row in redeemed if row.ended is None and row.expires > at]
    assert len({(row.client_id, row.license) for row in live}) == len(live), "one redeemed permission lives"
    return everything
