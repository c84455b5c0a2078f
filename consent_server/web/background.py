"""Background tasks at other parties' servers, which may take longer than a page waits and must not be interrupted.

A page starts a task and waits a little. If that is not enough, the task continues in its thread and writes its result to the
browser's session or journey in the store, where any node finds it.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from functools import partial
from typing import ClassVar, Final, TypeVar

from consent_server import clock
from consent_server.outbound import page_time
from consent_server.refusal import Refusal, Unavailable
from consent_server.store import waiting

T = TypeVar("T")

log = logging.getLogger("consent_server.web")

#: Seconds that a page waits for a provider.
WAIT_S: Final = page_time.PAGE_S
#: Tasks at one provider that may be under way at once in this process: a slow one takes no threads from the others.
MOST: Final = 8
#: Of these, tasks of one account: it must not take the places of all others, however many browsers it has.
MOST_OF_ONE: Final = 2
#: Seconds after which a task that has no result will have none: its process has ended.
LONGEST_S: Final = 120
#: Seconds between two looks of a page that waits.
REFRESH_S: Final = 30

_under_way: Counter[tuple[str, ...]] = Counter()
_lock = threading.Lock()


class StillUnderWay(Exception):
    """The page has waited long enough, and the task goes on."""


class ProviderBusy(Unavailable):
    code = "provider_busy"
    public = (
        "The server that we wait for is slow just now, and many people wait for it. Nothing was lost. "
        "Load this page again in half a minute."
    )
    help = "Wait half a minute and load the page again: your place is kept. If it lasts, tell us the correlation id."
    clause = "RFC 9110 15.6.4; ASVS 15.2.2"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "30"}


def run(provider: str, account: str, begin: Callable[[], T], act: Callable[[T], str]) -> str:
    """Keep that a task of an account has begun (`begin`), then do it (`act`); return what it returns, or raise what it raises.

    Raise StillUnderWay; and ProviderBusy, before anything was begun.
    """
    counted = ((provider,), (provider, account))
    with _lock:
        if any(_under_way[each] >= most for each, most in zip(counted, (MOST, MOST_OF_ONE), strict=True)):
            raise ProviderBusy(provider)
        _under_way.update(counted)
    result: Future[str] = Future()
    try:
        begun = begin()
        context = copy_context()  # the application, and the id under which all of this is logged
        work = (_run, counted, partial(act, begun), result)
        threading.Thread(target=context.run, args=work, name="background task", daemon=True).start()
    except BaseException:
        _ended(counted)
        raise
    wait((result,), WAIT_S)
    if not result.done():
        raise StillUnderWay
    return result.result()


def is_lost(began: int) -> bool:
    """Return whether a task that began at an instant, and has no result yet, will have none."""
    return not 0 <= clock.now() - began < LONGEST_S


def _run(counted: tuple[tuple[str, ...], ...], act: Callable[[], str], result: Future[str]) -> None:
    page_time.end_page()
    waiting.end_page()  # a page gives up sooner on a stuck store, and what was redeemed must be kept
    try:
        found = act()
    except BaseException as fault:
        log.warning("a task at %s: %s", counted[0][0], fault if isinstance(fault, Refusal) else type(fault).__name__)
        result.set_exception(fault)
    else:
        result.set_result(found)
    finally:
        _ended(counted)


def _ended(counted: tuple[tuple[str, ...], ...]) -> None:
    with _lock:
        _under_way.subtract(counted)
        for each in counted:
            if not _under_way[each]:
                del _under_way[each]
