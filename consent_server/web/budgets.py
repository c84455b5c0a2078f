"""The limits of this party by name, as its settings have them."""

from typing import Final

from consent_server.deployment import current
from consent_server.scheme.instant import DAY
from consent_server.web.limits import Counted, Limit, Period

#: How many windows' worth of wrong sign-in codes one account may have in a day.
CODES_A_DAY: Final = 5


def meter() -> Limit:
    """Return the limit on failed identifications by one meter's number, in a day."""
    return Limit("meter", Counted.METERS, (Period(current().settings.limits.identify_per_meter_per_day, DAY),))


def journey() -> Limit:
    """Return the limit on failed identifications in one journey, or in one browser that looks after permissions."""
    return _limit("journey", Counted.METERS, current().settings.limits.identify_per_journey)


def address() -> Limit:
    """Return the limit on failed identifications from one network address."""
    return _limit("address", Counted.METERS, current().settings.limits.identify_per_address)


def sign_in() -> Limit:
    """Return the limit on sign-in codes asked for and typed from one network address, until one of them is used."""
    return _limit("sign-in", Counted.SIGN_IN, current().settings.limits.identify_per_address)


def codes() -> Limit:
    """Return the limit on wrong sign-in codes for one account. Its second window stops a guesser who waits out the first."""
    most = current().settings.limits.sign_in_per_account
    return Limit("code", Counted.CODES, (_window(most), Period(CODES_A_DAY * most, DAY)))


def mails() -> Limit:
    """Return the limit on sign-in codes sent to one e-mail address, until one of them is used."""
    return _limit("mail", Counted.MAILS, current().settings.limits.sign_in_per_account)


def evidence() -> Limit:
    """Return the limit on guessed addresses of evidence pages, from one network address."""
    return _limit("evidence", Counted.EVIDENCE, current().settings.limits.unknown_requests_per_address)


def unknown_requests() -> Limit:
    """Return the limit on unknown request_uris at the authorization endpoint, from one network address."""
    return _limit("unknown_request", Counted.REQUESTS, current().settings.limits.unknown_requests_per_address)


def _limit(name: str, counted: Counted, most: int) -> Limit:
    return Limit(name, counted, (_window(most),))


def _window(most: int) -> Period:
    return Period(most, current().settings.limits.window_s)
