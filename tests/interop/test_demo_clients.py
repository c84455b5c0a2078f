"""The scheme's demo CAP and agent go their way with our provider, step by step (docs/interop.md has what stays different)."""

from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import RunningSandbox
from tests.interop.demo_clients import Agent, DemoCap, Program, went

pytestmark = pytest.mark.xdist_group("sandbox")

Walk = tuple[Program, dict[str, Exception | None]]


@pytest.fixture(scope="module")
def demo_cap(sandbox: RunningSandbox) -> Walk:
    program = DemoCap(sandbox.manifest, "cap2", "electricity_only", "electricity_and_gas")
    return program, went(program)


@pytest.fixture(scope="module")
def agent(sandbox: RunningSandbox) -> Walk:
    program = Agent(sandbox.manifest, "cap_fsp", "normal", "one_permission")
    return program, went(program)


def passed(walk: Walk, step: str) -> None:
    _, outcome = walk
    assert step in outcome, f"not reached: {list(outcome)[-1]} failed"
    if fault := outcome[step]:
        raise fault


@pytest.mark.parametrize("step", DemoCap.STEPS)
def test_each_step_of_the_demo_cap_passes(demo_cap: Walk, step: str) -> None:
    passed(demo_cap, step)


@pytest.mark.parametrize("step", Agent.STEPS)
def test_each_step_of_the_demo_agent_passes(agent: Walk, step: str) -> None:
    passed(agent, step)


def test_our_transfer_steps_stay_in_the_specifications_form(agent: Walk) -> None:
    """The agent compares with the deployed form in four members: a documented difference."""
    program, _ = agent
    assert program.differs == {"to", "service", "path", "parameters"}


# What the command line of v2.0.0 sends and v2.4.0 no longer does


@pytest.fixture
def older(sandbox: RunningSandbox) -> Iterator[Program]:
    program = DemoCap(sandbox.manifest, "cap2", "electricity_only", "electricity_and_gas")
    program.discovery()
    yield program
    program.close()


def pushed(program: Program, **changes: str) -> httpx.Response:
    form = {
        "client_id": program.client_id,
        "redirect_uri": program.REDIRECT_URI,
        "response_type": "code",
        "scope": program.license,
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }
    return program.post("pushed_authorization_request_endpoint", **form | changes)


def test_no_state_is_accepted_and_so_is_offline_access(older: Program) -> None:
    assert pushed(older).status_code == 201
    assert pushed(older, scope=f"{older.license} offline_access").status_code == 201


def test_a_literal_plus_makes_another_scope_which_is_refused(older: Program) -> None:
    answer = pushed(older, scope=f"{older.license}+offline_access")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


def test_a_fixed_path_for_the_permission_record_leads_nowhere(older: Program) -> None:
    answer = older.member.post(f"{older.resource}/api/v1/permissions", data={"token": "x"})
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_the_demo_providers_message_is_refused(sandbox: RunningSandbox) -> None:
    """It has a subject of its own, and in its body the token under another name."""
    program = Program(sandbox.manifest, "edp", "normal", "electricity_and_gas")
    message = {
        "ib1:message": "https://registry.core.trust.ib1.org/trust-framework",
        "subject": "https://registry.trust.ib1.org/message/revoke",
        "body": {
            "account": "a",
            "client": "c",
            "license": "l",
            "revoked": "2026-03-12T09:30:00+00:00Z",
            "refreshToken": "t",
        },
    }
    answer = program.member.post(f"{sandbox.manifest['doors']['cap']}/messages", json=message)
    program.close()
    assert answer.status_code == 400
    assert answer.json()["error_uri"].endswith("/errors/message_malformed")
