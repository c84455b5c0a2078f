"""What a process holds of fetched copies itself."""

from typing import Any

from consent_server.outbound.cache import Copy, Fetcher, MemoryCache
from tests.conftest import HeldClock

URL = "https://directory.example/m/1"


class Counting(MemoryCache):
    looks = 0

    def get(self, name: str) -> Copy | None:
        self.looks += 1
        return super().get(name)


def test_a_copy_is_looked_for_once_while_it_is_fresh(held_clock: HeldClock) -> None:
    cache, nobody = Counting(), None
    fetcher: Any = Fetcher(nobody, cache)  # type: ignore[arg-type]
    at = held_clock.instant
    cache.put(URL, Copy(b"1", {}, at, at + 60))
    assert [fetcher.get(URL, bytes) for _ in range(3)] == [b"1"] * 3
    assert cache.looks == 1
    cache.put(URL, Copy(b"2", {}, at, at + 120))  # by another process
    held_clock.step(59)
    assert fetcher.get(URL, bytes) == b"1"
    held_clock.step(1)
    assert fetcher.get(URL, bytes) == b"2"
    assert cache.looks == 2
