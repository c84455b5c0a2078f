"""What a CAP asks the provider behind a connection, beside its readings: a token, a catalogue entry, a record."""

from dataclasses import replace

import pytest

from consent_server import store
from consent_server.collect import provider
from consent_server.outbound.directory import Agreement
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.store import connections, outbox
from tests.collect.conftest import Cap
from tests.scheme.signing import EDP_ROLE, NOW

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize(
    ("answered", "used_next"), [("second", "second"), ("refresh-c", "refresh-c"), (None, "refresh-c")]
)
def test_the_newest_refresh_token_is_the_one_that_is_used(cap: Cap, answered: str | None, used_next: str) -> None:
    cap.connect(cap.provider())
    cap.rotated = answered
    for _ in range(2):
        assert provider.access_token(cap.row()) == "access-edp"
    assert cap.presented == ["refresh-c", used_next]
    # A withdrawal message quotes the newest one: the connection is found by it.
    with store.reading() as c:
        found = connections.by_refresh_mac(c, cap.deployment.sealer.mac(used_next))
    assert found is not None
    assert found.id == "c"


def test_a_slow_worker_does_not_replace_the_token_that_a_faster_one_kept(cap: Cap) -> None:
    cap.connect(cap.provider())
    slow = cap.row()
    for rotated, row in (("second", cap.row()), ("third", slow)):
        cap.rotated = rotated
        provider.access_token(row)
    with store.reading() as c:
        assert connections.by_refresh_mac(c, cap.deployment.sealer.mac("second")) == cap.row()


def test_a_refresh_token_of_another_connection_replaces_none(cap: Cap) -> None:
    edp = cap.provider()
    cap.connect(edp)
    before = cap.row()
    cap.connect(edp, "other")
    cap.rotated = "refresh-other"
    with pytest.raises(Unreachable, match="of another permission"):
        provider.access_token(before)
    assert cap.row().refresh_mac == before.refresh_mac


def test_a_service_that_has_left_the_catalogue_cannot_be_reached(cap: Cap) -> None:
    edp = cap.provider()
    cap.connect(edp)
    assert provider.service_of(cap.row()) == edp.service
    cap.providers.clear()
    with pytest.raises(Unreachable, match="not in the catalogue"):
        provider.service_of(cap.row())


@pytest.mark.parametrize(
    ("lapsed_agreements", "membership_ok", "until", "said"),
    [
        ("refuse", True, NOW + 1, None),
        ("refuse", True, NOW, provider.LAPSED),
        ("warn", True, NOW, None),
        ("warn", False, NOW + 1, provider.LAPSED),
    ],
)
def test_a_provider_that_may_not_act_in_the_scheme_is_not_asked(
    cap: Cap, lapsed_agreements: str, membership_ok: bool, until: int, said: str | None
) -> None:
    settings = cap.deployment.settings
    clients = settings.clients.model_copy(update={"lapsed_agreements": lapsed_agreements})
    cap.deployment.settings = settings.model_copy(update={"clients": clients})
    cap.membership_ok, cap.agreements = membership_ok, (Agreement((EDP_ROLE,), 0, until),)
    edp = cap.provider()
    cap.connect(edp)
    assert cap.collect() == (said is None)
    assert cap.row().trouble == said
    assert bool(edp.fetched) == (said is None)


def test_H05_an_entry_of_another_member_with_the_same_id_is_not_asked(cap: Cap) -> None:
    """Listed first or last, it would get the tokens of this connection, and the provider's customers no readings."""
    edp = cap.provider()
    cap.connect(edp)
    hostile = replace(edp.service, member=f"{edp.member}-not", endpoint="https://hostile.example")
    for listed in ([hostile, edp.service], [edp.service, hostile]):
        cap.deployment.directory.data_services = lambda _, listed=listed: listed  # type: ignore[method-assign, misc]
        assert provider.service_of(cap.row()) == edp.service


@pytest.mark.parametrize(
    ("revoked", "ended_as"),
    [
        (True, "withdrawn"),
        (False, None),
        (Unreachable("time", "edp.example"), None),
        (OAuthRefused("invalid_grant", "edp.example", 400), None),
    ],
    ids=["revoked", "not-revoked", "unreachable", "refused"],
)
def test_only_a_record_that_says_so_ends_a_connection(
    cap: Cap, revoked: bool | Exception, ended_as: str | None
) -> None:
    cap.collected(cap.provider())
    cap.revoked = revoked
    provider.end_if_revoked(cap.row())
    assert cap.records == ["refresh-c"]
    assert cap.row().ended_as == ended_as
    assert bool(cap.kept().windows) is (ended_as is None)
    with store.reading() as c:
        assert outbox.waiting(c) == [], "the issuer knows already"
