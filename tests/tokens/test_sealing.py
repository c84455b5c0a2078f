"""Sealing: one use's key does not open what another sealed."""

import pytest

from consent_server.tokens.sealing import BadSealingKey, Sealer


def test_what_is_sealed_for_one_use_opens_for_that_use_alone() -> None:
    first = Sealer(bytes(range(32)))
    typed, other = first.for_use("typed"), first.for_use("another")
    sealed = typed.seal("a postcode")
    assert first.for_use("typed").unseal(sealed) == "a postcode"
    for sealer in (first, other):
        with pytest.raises(BadSealingKey):
            sealer.unseal(sealed)
    assert len({each.fingerprint() for each in (first, typed, other)}) == 3
