"""What every row of the matrix starts from: one running sandbox, and the oracle that watches it."""

import pytest

from tests.conftest import RunningSandbox
from tests.refusals.oracle import Oracle


@pytest.fixture(scope="session")
def oracle(sandbox: RunningSandbox) -> Oracle:
    return Oracle(sandbox)
