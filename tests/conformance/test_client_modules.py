"""The 8 modules of the FAPI 2.0 Security Profile Final client plan that concern a CAP, each under its own name.

All are one run against one issuer: what our CAP keeps of it, metadata and connections, it has from the module before. A test
fails where the suite would say FAILURE or WARNING; what it looks at in every request is in the server (`complaints`).
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from consent_server.collect import provider
from consent_server.outbound.cache import Copy
from consent_server.portal.providers import ProviderWrong
from consent_server.scheme.instant import DAY
from consent_server.store.fetched import StoredCache
from tests.conformance.client_plan import MODULES, PREFIX, SuiteServer
from tests.conftest import HeldClock
from tests.deployments import START
from tests.interop.our_cap import Certificates, OurCap, our_cap
from tests.interop.unkind_edp import METADATA, with_, without

pytestmark = pytest.mark.xdist_group("client plan")

TOKEN = "/token_endpoint"
DISCOVERY = f"{METADATA}/test/a/perseus"


class ClientRun:
    """One browser of one SME at our CAP, which has gone the whole way once before the first module."""

    def __init__(self, cap: OurCap) -> None:
        self.cap, self.edp, self.browser = cap, cap.edp, cap.signed_in()
        self.goes_on()

    def kept(self) -> Copy:
        """Our copy of the issuer's metadata."""
        copy = StoredCache().get(f"{self.edp.url}{DISCOVERY}")
        assert copy is not None
        return copy

    def pass_a_day(self) -> None:
        """Collections are due again, and the SME has been signed out."""
        self.cap.clock.step(DAY)
        self.browser = self.cap.signed_in()

    def goes_on(self) -> None:
        """Connect and collect: the resource is read with the token that a refresh brought."""
        assert self.cap.connected(self.browser).path == "/connected"
        first = self.cap.held()
        assert self.cap.collect() == 1, self.cap.row().trouble
        assert self.cap.held() != first, "the refresh token was not rotated"
        resource = self.edp.asked("/datasources")[-1]
        assert resource.headers["authorization"] == f"Bearer {self.edp.access_token}"

    def stops_at_the_callback(self, **changes: str | None) -> None:
        """Come back with a spoilt response: a page says so, and nothing is called any more."""
        self.cap.sent_off(self.browser)
        before, rows = len(self.edp.server.asked), self.cap.rows()
        self.cap.back(self.browser, **changes)
        assert self.browser.status == 400
        assert "Start connecting again" in self.browser.html
        assert self.cap.collect() == 0
        assert self.edp.server.asked[before:] == []
        assert self.cap.rows() == rows


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientRun]:
    folder = tmp_path_factory.mktemp("client-plan")
    with pytest.MonkeyPatch.context() as patch:
        held = HeldClock(START)
        patch.setattr("consent_server.clock.now", lambda: held.instant)
        with our_cap(Certificates(folder / "wire"), f"sqlite:///{folder / 'store.db'}", held, SuiteServer) as cap:
            yield ClientRun(cap)


@pytest.fixture
def run(whole_run: ClientRun) -> Iterator[ClientRun]:
    whole_run.edp.spoil.clear()
    assert whole_run.kept()
    assert whole_run.cap.rows()
    yield whole_run
    assert whole_run.edp.complaints == []


def test_fapi2_security_profile_final_client_test_happy_path(run: ClientRun) -> None:
    run.goes_on()
    run.pass_a_day()
    assert run.cap.collect() == 1, "the rotated refresh token is the one that works"


def test_fapi2_security_profile_final_client_test_discovery_issuer_mismatch(run: ClientRun) -> None:
    before = run.kept()
    run.edp.spoil[METADATA] = with_(issuer=f"{run.edp.issuer}INVALID")
    asked = len(run.edp.server.asked)
    assert run.cap.sent_off(run.browser).status == 502
    assert ProviderWrong.public in run.browser.html
    run.pass_a_day()
    assert run.cap.collect() == 0
    assert run.cap.row().trouble == provider.WRONG
    assert {each.path for each in run.edp.server.asked[asked:]} == {DISCOVERY}
    assert run.kept() == before


def test_fapi2_security_profile_final_client_test_invalid_authorization_response_iss(run: ClientRun) -> None:
    run.stops_at_the_callback(iss=f"{run.edp.issuer}1")


def test_fapi2_security_profile_final_client_test_remove_authorization_response_iss(run: ClientRun) -> None:
    run.stops_at_the_callback(iss=None)


def test_fapi2_security_profile_final_client_test_ensure_authorization_response_with_invalid_state_fails(
    run: ClientRun,
) -> None:
    pushed = run.edp.asked("/pushed_authorization_request_endpoint")[-1].form()["state"]
    run.stops_at_the_callback(state=f"{pushed}1")


def test_fapi2_security_profile_final_client_test_ensure_authorization_response_with_invalid_missing_state_fails(
    run: ClientRun,
) -> None:
    run.stops_at_the_callback(state=None)


def test_fapi2_security_profile_final_client_test_token_endpoint_response_without_expires_in(run: ClientRun) -> None:
    run.edp.spoil[TOKEN] = without("expires_in")
    run.goes_on()


def test_fapi2_security_profile_final_client_test_token_type_case_insensitivity(run: ClientRun) -> None:
    run.edp.spoil[TOKEN] = with_(token_type="bEARER")
    run.goes_on()


# Whether nothing is left out


def test_every_module_that_concerns_a_client_is_tested_under_its_name() -> None:
    prefix = PREFIX.replace("-", "_")
    tested = re.findall(rf"^def test_{prefix}(\w+)\(", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE)
    assert tested == [name.replace("-", "_") for name, why_not in MODULES.items() if not why_not]


def test_the_page_lists_what_the_plan_publishes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| C(\d+) \| `([a-z0-9_-]+)` \| (PASSED|n/a) \| (.+) \|$", page, re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, len(MODULES) + 1))
    assert [name for _, name, *_ in rows] == list(MODULES)
    assert {name: words for _, name, result, words in rows if result == "n/a"} == {
        name: why_not for name, why_not in MODULES.items() if why_not
    }
