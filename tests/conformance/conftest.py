"""A plan for each issuer of the sandbox, a fresh run for each module, and a clock that is always set back."""

from collections.abc import Callable, Iterator

import pytest

pytest.register_assert_rewrite("tests.conformance.suite")

from tests.conformance import suite  # noqa: E402
from tests.conformance.plan import PARTIES, Plan, make  # noqa: E402
from tests.conftest import RunningSandbox  # noqa: E402


@pytest.fixture(scope="module", params=list(PARTIES))
def plan(request: pytest.FixtureRequest, sandbox: RunningSandbox) -> Iterator[Plan]:
    made = make(sandbox.manifest, request.param)
    yield made
    made.close()


@pytest.fixture
def run(plan: Plan) -> suite.Run:
    """Configured as each module is. A default sandbox has IB1's aliases, and so the one expected failure."""
    return suite.Run(plan).configure([suite.ALIAS_OF_AUTHORIZATION])


@pytest.fixture
def pass_time(sandbox: RunningSandbox) -> Iterator[Callable[[int], None]]:
    """Let so many seconds have passed since the test began, where the suite sleeps."""

    def passed(seconds: int) -> None:
        sandbox.control("clock", offset_s=seconds)

    yield passed
    sandbox.control("clock", offset_s=0)
