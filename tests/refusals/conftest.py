"""What every row of the matrix starts from: one running sandbox, and the oracle that watches it."""

import pytest

from tests.conftest import RunningSandbox
from tests.refusals.flows import World
from tests.refusals.oracle import Oracle


@pytest.fixture(scope="session")
def oracle(sandbox: RunningSandbox) -> Oracle:
    return Oracle(sandbox)


@pytest.fixture(scope="session")
def world(oracle: Oracle) -> World:
    return World(oracle)
