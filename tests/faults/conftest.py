"""An EDP's issuer on both databases, as its own tests have it, and two nodes of it for races."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.racing import pauses
from tests.issuer.conftest import Issuer, certificates, changed, issuer

__all__ = ["certificates", "changed", "issuer"]


@pytest.fixture
def nodes(issuer: Issuer, changed: Any) -> Iterator[list[Issuer]]:
    """Two machines on one database, whose statements are made after small pauses."""
    with pauses():
        yield [issuer, changed()]
