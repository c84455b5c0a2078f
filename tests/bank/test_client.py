"""The library for banks: what it keeps, what it refuses, and what it forgets."""

import hashlib
import io
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import pytest

from consent_server import clock
from consent_server.bank import client
from consent_server.bank.client import Bank, PermissionNotLive
from consent_server.bank.held import HeldPermission, MemoryStore, as_json, from_json
from consent_server.bank.verified import EmissionsNotVerified
from consent_server.caller import catalogue
from consent_server.caller.message import MessageMalformed, MessageNotJson, MessageNotYours, MessageTooLarge
from consent_server.outbound.errors import BadAnswer, CallbackRefused, NotReady, OAuthRefused, TokenRefused, Unreachable
from consent_server.outbound.session import Response
from consent_server.outbound.upstream import Tokens
from consent_server.scheme import instant
from consent_server.scheme.messages import WITHDRAWAL_SUBJECT, withdrawal
from consent_server.scheme.provenance.steps import COMPLETE, MISSING, scheme_url
from tests.bank.answers import ACCOUNT, AT, BEGIN, END, answer, call, month
from tests.bank.played import PlayedOutside
from tests.deployments import PlayedCallers, layout, settings_of

ISSUER = layout().issuer("cap")
TOO_LONG = b'{"error": "invalid_request", "detail": [{"loc": ["query", "from"], "msg": "", "type": "report_too_long"}]}'


class Played:
    """A bank whose outside is played, and a permission that it was given."""

    def __init__(self) -> None:
        self.outside = PlayedOutside()
        self.store = MemoryStore()
        parts = SimpleNamespace(
            settings=settings_of("fsp", "sqlite://"),
            session=self.outside,
            directory=self.outside,
            upstream=self.outside.upstream,
            callers=PlayedCallers(),
            signing_root=call().signing_root,
        )
        license_ = layout().license("emissions")
        self.bank = Bank(cast(Any, parts), self.store, license=license_, callback="https://bank.example/callback")
        self.held = self.given()

    def given(self, **changes: str) -> HeldPermission:
        pushed = self.bank.ask(ISSUER)
        values = {"code": "c", "state": pushed.state, "iss": ISSUER, **changes}
        query = "&".join(f"{name}={value}" for name, value in values.items() if value)
        return self.bank.answered(ISSUER, query, pushed.state, pushed.code_verifier, "Bakery")

    def fetch(self) -> HeldPermission:
        return self.bank.fetch(self.held.id, BEGIN, END)

    @property
    def now(self) -> HeldPermission:
        found = self.store.get(self.held.id)
        assert found is not None
        return found

    def message(self, token: str, sender: str = "cap", role: str = "cap_portal", **environ: str) -> Any:
        body = json.dumps(withdrawal(layout().trust_framework, WITHDRAWAL_SUBJECT, token)).encode()
        return self.posted(body, sender, role, **environ)

    def posted(self, body: bytes, sender: str = "cap", role: str = "cap_portal", **environ: str) -> Any:
        caller = SimpleNamespace(
            member=layout().member(sender), application="https://a.example", roles=layout().roles_of(role)
        )
        read = io.BytesIO(body).read
        return self.bank.receive({"test.client": caller, "CONTENT_TYPE": "application/json", **environ}, read)


@pytest.fixture
def played(held_clock: Any) -> Played:
    return Played()


def test_what_is_kept_of_a_permission(played: Played) -> None:
    assert b"refresh-1" not in as_json(played.held)
    assert "sealed" not in repr(played.held)
    got = played.fetch()
    assert (got.account, got.expires, got.reference, got.fault) == (ACCOUNT, AT + 86400, "Bakery", "")
    assert got.emissions is not None
    assert got.emissions.sha256 == hashlib.sha256(got.answer).hexdigest()
    assert from_json(as_json(got)) == got
    assert (
        played.outside.asked
        == f"{layout().resource('cap')}/emissions?from=2025-03-01T00:00:00Z&to=2026-03-01T00:00:00Z"
    )
    assert got.state(AT) == "live"
    assert got.state(AT + 86400) == "expired"


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        pytest.param({"state": "another"}, CallbackRefused, id="another state"),
        pytest.param({"iss": "https://evil.example"}, CallbackRefused, id="another issuer"),
        pytest.param({"iss": ""}, CallbackRefused, id="no issuer"),
        pytest.param({"code": ""}, CallbackRefused, id="no code"),
        pytest.param({"error": "access_denied"}, OAuthRefused, id="declined"),
    ],
)
def test_what_comes_back_without_permission(played: Played, changes: dict[str, str], refused: type[Exception]) -> None:
    with pytest.raises(refused):
        played.given(**changes)
    assert [each.id for each in played.store.all()] == [played.held.id]
    assert played.outside.upstream.redeemed == 1


def test_tokens_that_cannot_be_used_are_revoked(played: Played) -> None:
    played.outside.upstream.of_no_use = BadAnswer("scope", "localhost", 200)
    with pytest.raises(BadAnswer, match="scope"):
        played.given()
    assert played.outside.upstream.revoked == ["refresh-2"]
    assert len(played.store.all()) == 1


def test_a_rotated_refresh_token_is_kept_before_anything_can_fail(played: Played) -> None:
    played.outside.upstream.rotates = True
    played.outside.gives(b"", 500)
    for _ in range(3):
        with pytest.raises(BadAnswer):
            played.fetch()
    assert played.outside.upstream.refreshed == ["refresh-1", "refresh-1+", "refresh-1++"]
    # A message may quote the one that the issuer gave first.
    assert played.message("refresh-1").permission == played.held.id


@pytest.mark.parametrize(
    ("status", "headers", "raised", "retry_after"),
    [
        pytest.param(202, {"retry_after": "17"}, NotReady, 17, id="not ready"),
        pytest.param(202, {}, NotReady, 60, id="not ready, for who knows how long"),
        pytest.param(401, {}, TokenRefused, 0, id="the token is refused"),
        pytest.param(503, {"retry_after": "5"}, BadAnswer, 5, id="unavailable"),
    ],
)
def test_what_says_nothing_about_the_figures_leaves_them(
    played: Played, status: int, headers: dict[str, str], raised: type[BadAnswer], retry_after: int
) -> None:
    before = played.fetch()
    played.outside.gives(b"{}", status, **headers)
    with pytest.raises(raised) as caught:
        played.fetch()
    assert (caught.value.retry_after, played.now) == (retry_after, before)


def test_a_window_that_is_too_long_is_read_in_parts(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CAP gives four months at a time; the second quarter of the year has an estimate in it."""
    asked: list[str] = []

    def get(url: str, **_: Any) -> Response:
        window = dict(parse_qsl(urlsplit(url).query))
        asked.append(f"{window['from'][:7]} {window['to'][:7]}")
        start, end = (instant.parse(window[name]) for name in ("from", "to"))
        numbers = [number for number in range(12) if start <= instant.months_later(BEGIN, number) < end]
        if len(numbers) > 4:
            return Response(422, {}, "localhost", TOO_LONG)
        said = f"{scheme_url(layout().registry)}/assurance/missing-data/{MISSING if 3 in numbers else COMPLETE}"
        process = {"perseus:assurance": {"missingData": said}}
        data = [month(number) for number in numbers if number != 4]
        return Response(200, {}, "localhost", answer(data, process=process, transfer={"parameters": window}))

    monkeypatch.setattr(played.outside, "get", get)
    got = played.fetch()
    assert asked == [
        *("2025-03 2026-03", "2025-03 2025-09", "2025-03 2025-06", "2025-06 2025-09"),
        *("2025-09 2026-03", "2025-09 2025-12", "2025-12 2026-03"),
    ]
    found = got.emissions
    assert found is not None
    assert (found.start, found.end, len(found.months)) == (BEGIN, END, 11)
    (total,) = found.totals
    missing = (instant.months_later(BEGIN, 4),)
    assert (total.months, total.missing, total.kilograms, total.quality.score) == (11, missing, 11 * 1234.5, 3)
    assert [(each.origin, each.start, each.end) for each in total.factors] == [("https://factors.example", BEGIN, END)]
    assert found.sha256 == hashlib.sha256(got.answer).hexdigest()
    assert len(got.answer.splitlines()) == 4
    assert {each.member: each.steps["transfer"] for each in found.signers} == {
        layout().member("edp"): 4,
        layout().member("cap"): 4,
    }
    assert from_json(as_json(got)) == got
    # One part that does not hold leaves no figure of any, and none after it is asked for.
    for last, before in (("to=2025-12", 5), ("to=2025-06", 2)):
        asked.clear()
        monkeypatch.setattr(
            played.outside,
            "get",
            lambda url, last=last, **_: get(url) if last not in url else Response(200, {}, "localhost", b"{}"),
        )
        with pytest.raises(EmissionsNotVerified):
            played.fetch()
        assert (len(asked), played.now.emissions) == (before, None)


def test_a_single_month_that_is_too_long_ends_the_halving(played: Played) -> None:
    played.outside.gives(TOO_LONG, 422)
    with pytest.raises(BadAnswer, match="status 422"):
        played.fetch()
    assert played.outside.asked.endswith("from=2025-03-01T00:00:00Z&to=2025-04-01T00:00:00Z")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"nonsense",
        b'{"detail": "report_too_long"}',
        b'{"detail": ["x", {"type": "reversed"}, {"type": 1}]}',
    ],
)
def test_another_422_is_asked_for_once(played: Played, body: bytes) -> None:
    played.outside.gives(body, 422)
    with pytest.raises(BadAnswer, match="status 422"):
        played.fetch()
    assert played.outside.asked.endswith("from=2025-03-01T00:00:00Z&to=2026-03-01T00:00:00Z")


@pytest.mark.parametrize(("kind", "calls"), [("too_large", 3), ("time", 2)])
def test_all_parts_together_are_bounded(played: Played, monkeypatch: pytest.MonkeyPatch, kind: str, calls: int) -> None:
    """One half of the year is within the bound, and both together are not."""
    limits: list[int] = []

    def get(url: str, limit: int, **_: Any) -> Response:
        limits.append(limit)
        window = dict(parse_qsl(urlsplit(url).query))
        if len(limits) == 1:
            return Response(422, {}, "localhost", TOO_LONG)
        if kind == "time":
            monkeypatch.setattr(clock, "ticks", lambda: 1e9)
        return Response(200, {}, "localhost", answer([month(0)], transfer={"parameters": window}))

    monkeypatch.setattr(played.outside, "get", get)
    if kind == "too_large":
        monkeypatch.setattr(client, "_LARGEST_TOGETHER", len(answer([month(0)])) + 100)
    with pytest.raises(Unreachable) as refused:
        played.fetch()
    assert (refused.value.kind, len(limits)) == (kind, calls)
    assert (played.now.emissions, played.now.answer) == (None, b"")
    assert limits[-1] < limits[0] or kind == "time", "an answer may have what the others have left"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b"nonsense", "not JSON", id="no JSON"),
        pytest.param(answer([month(), month()]), "twice", id="a month twice"),
        pytest.param(answer(permission={"account": "another"}), "account", id="an answer for another permission"),
    ],
)
def test_an_answer_that_does_not_hold_leaves_no_figure(played: Played, body: bytes, says: str) -> None:
    kept = played.fetch().answer
    played.outside.gives(body)
    with pytest.raises(EmissionsNotVerified, match=says):
        played.fetch()
    assert says in played.now.fault
    assert (played.now.emissions, played.now.answer) == (None, kept)
    played.outside.gives(answer())
    assert played.fetch().fault == ""


@pytest.mark.parametrize(
    ("changes", "raised", "left"),
    [
        pytest.param({"revoked": True}, PermissionNotLive, "withdrawn", id="revoked"),
        pytest.param({"expires": AT}, PermissionNotLive, "expired", id="expired"),
        pytest.param({"account": "another"}, BadAnswer, "live", id="of another account"),
        pytest.param({"license": "https://l.example"}, BadAnswer, "live", id="of another license"),
    ],
)
def test_what_the_permission_record_says(
    played: Played, changes: dict[str, Any], raised: type[Exception], left: str
) -> None:
    played.fetch()
    played.outside.upstream.says(**changes)
    with pytest.raises(raised):
        played.fetch()
    assert played.now.state(AT) == left
    assert (played.now.deletion.said_by if played.now.deletion else None) == (
        "permission record" if left == "withdrawn" else None
    )


def test_who_comes_late_with_a_rotated_token_leaves_the_others_figures(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = played.outside.upstream
    upstream.rotates = True
    refresh = upstream.refresh

    def late(*_: Any) -> Any:
        monkeypatch.setattr(upstream, "refresh", refresh)
        played.fetch()  # in another process
        raise OAuthRefused("invalid_grant", "localhost", 400)

    monkeypatch.setattr(upstream, "refresh", late)
    with pytest.raises(OAuthRefused):
        played.fetch()
    assert (played.now.fault, played.now.emissions is None) == ("", False)


def test_a_token_that_two_permissions_would_share_is_refused(played: Played) -> None:
    played.outside.upstream.redeemed = 0
    with pytest.raises(BadAnswer, match="another permission"):
        played.given()
    assert (played.store.all(), played.outside.upstream.revoked) == ([played.held], [])


def test_a_rotated_token_that_is_another_permissions_is_refused(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = played.given()
    monkeypatch.setattr(played.outside.upstream, "refresh", lambda *_: Tokens("access", "refresh-2", 600))
    with pytest.raises(BadAnswer, match="another permission"):
        played.fetch()
    assert played.message("refresh-2").permission == other.id
    assert (played.now.macs, played.now.deletion) == (played.held.macs, None)


def test_a_permission_that_its_issuer_does_not_know_has_no_figures(played: Played) -> None:
    played.fetch()
    played.outside.upstream.fault = OAuthRefused("invalid_grant", "localhost", 400)
    with pytest.raises(OAuthRefused):
        played.fetch()
    assert (played.now.emissions, "does not know" in played.now.fault) == (None, True)


@pytest.mark.parametrize(
    ("services", "says"),
    [
        pytest.param((), "time", id="no Directory"),
        pytest.param(("cap2",), "not in the catalogue", id="an issuer that changed hands"),
        pytest.param(("cap",), "may not act", id="a suspended member"),
    ],
)
def test_whose_issuer_it_is(played: Played, services: tuple[str, ...], says: str) -> None:
    played.outside.services = [PlayedOutside.service(name) for name in services]
    played.outside.suspended = {layout().member("cap")}
    with pytest.raises(Unreachable, match=says):
        played.fetch()
    assert played.outside.asked == ""


@pytest.mark.parametrize("who", ["fsp", "cap2", "suspended"])
@pytest.mark.parametrize("first", [True, False])
def test_H05_another_members_claim_to_the_issuer_costs_that_entry_alone(
    played: Played, caplog: pytest.LogCaptureFixture, who: str, first: bool
) -> None:
    """Any member may write an entry with this CAP's issuer: the bank goes on reading, and asks the CAP for the next one."""
    caplog.set_level("INFO", "consent_server.audit")
    catalogue._alarm.cache_clear()
    hostile = replace(
        PlayedOutside.service("fsp" if who == "fsp" else "cap2"),
        id="https://hostile.example/catalogue",
        application=layout().application("cap2"),
        endpoint="https://hostile.example",
    )
    played.outside.suspended = {layout().member("cap2")} if who == "suspended" else set()
    honest = PlayedOutside.service()
    played.outside.services = [hostile, honest] if first else [honest, hostile]
    assert played.fetch().emissions is not None
    assert played.outside.asked.startswith(f"{honest.endpoint}/")
    assert played.bank.provider(ISSUER) == honest
    assert played.given().member == honest.member
    assert caplog.text.count("catalogue_claim_refused") == (who == "cap2")


def test_H05_of_two_claims_that_the_directory_confirms_alike_that_of_a_permission_stays(played: Played) -> None:
    hostile = replace(PlayedOutside.service("cap2"), application="", endpoint="https://hostile.example")
    honest = replace(PlayedOutside.service(), application="")
    played.outside.services = [hostile, honest]
    assert played.bank.provider(ISSUER) == honest
    played.message("refresh-1")  # now it deals with neither
    with pytest.raises(Unreachable, match="not in the catalogue"):
        played.bank.provider(ISSUER)


def test_H05_many_false_claims_have_the_bank_read_its_permissions_once(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = PlayedOutside.service()
    hostile = replace(PlayedOutside.service("cap2"), endpoint="https://hostile.example")
    played.outside.services = [replace(hostile, id=f"{hostile.id}/{number}") for number in range(20)] + [honest]
    asked, every = [], played.store.all
    monkeypatch.setattr(played.store, "all", lambda: (asked.append(1), every())[1])
    assert played.bank.provider(ISSUER) == honest
    assert len(asked) == 1


def test_a_withdrawal_leaves_proof_and_nothing_else(played: Played) -> None:
    kept = played.fetch().answer
    proof = played.message("refresh-1")
    assert (proof.permission, proof.reference, proof.at, proof.said_by) == (played.held.id, "Bakery", AT, "message")
    assert (proof.sender, proof.application) == (layout().member("cap"), "https://a.example")
    assert (proof.sha256, proof.size) == (hashlib.sha256(kept).hexdigest(), len(kept))
    left = json.loads(as_json(played.now))
    assert {left[name] for name in ("sealed_token", "answer", "fault")} == {""}
    assert (left["macs"], left["emissions"]) == ([], None)
    assert "1234.5" not in json.dumps(left)
    assert played.message("refresh-1") is None
    with pytest.raises(PermissionNotLive):
        played.fetch()


def test_a_withdrawal_while_emissions_are_read_keeps_nothing(played: Played) -> None:
    played.outside.during = lambda: played.message("refresh-1")
    with pytest.raises(PermissionNotLive):
        played.fetch()
    assert (played.now.answer, played.now.emissions, played.now.sealed_token) == (b"", None, b"")
    assert played.now.deletion is not None
    assert (played.now.deletion.sha256, played.now.deletion.what) == ("", ("refresh token",))


@pytest.mark.parametrize(
    ("sent", "refused"),
    [
        pytest.param({"sender": "cap2"}, MessageNotYours, id="another member"),
        pytest.param({"role": "edp_service"}, Exception, id="without the role"),
        pytest.param({"CONTENT_TYPE": "text/plain"}, MessageNotJson, id="no JSON by its type"),
        pytest.param({"HTTP_CONTENT_ENCODING": "gzip"}, MessageNotJson, id="encoded"),
        pytest.param({"CONTENT_LENGTH": "70000"}, MessageTooLarge, id="too large by its own word"),
        pytest.param({"CONTENT_LENGTH": "-1"}, MessageTooLarge, id="no length"),
    ],
)
def test_a_message_that_is_refused(played: Played, sent: dict[str, str], refused: type[Exception]) -> None:
    with pytest.raises(refused):
        played.message("refresh-1", **sent)
    assert played.now == played.held


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        pytest.param(b"{", MessageMalformed, id="not JSON"),
        pytest.param(b"{}", MessageMalformed, id="no message"),
        pytest.param(b" " * 70_000, MessageTooLarge, id="too large"),
    ],
)
def test_what_is_no_message(played: Played, body: bytes, refused: type[Exception]) -> None:
    with pytest.raises(refused):
        played.posted(body)


def test_no_more_is_read_than_the_message_says_to_have(played: Played) -> None:
    body = json.dumps(withdrawal(layout().trust_framework, WITHDRAWAL_SUBJECT, "refresh-1")).encode()
    assert played.posted(body + b"POST /messages HTTP/1.1", CONTENT_LENGTH=str(len(body))) is not None


def test_the_sender_is_judged_before_the_body_is_read(played: Played) -> None:
    def read(_: int) -> bytes:
        raise AssertionError("read")

    stranger = SimpleNamespace(member="m", application="a", roles=())
    with pytest.raises(Exception, match="role"):
        played.bank.receive({"test.client": stranger}, read)


def test_a_token_that_is_not_held_changes_nothing(played: Played) -> None:
    assert played.message("another") is None
    assert played.now == played.held
