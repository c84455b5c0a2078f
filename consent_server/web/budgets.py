"""The limits of this party by name, as its settings have them. docs/guessing.md says what each is for."""

from collections.abc import Iterable
from typing import Final

from consent_server.deployment import current
from consent_server.scheme.instant import DAY
from consent_server.settings.issuer import LimitsSettings
from consent_server.web.limits import Counted, Guess, Limit, Period, network_of, place_of

#: The subject of what is counted over all.
ALL: Final = "all"
#: More than a person has devices; each is mailed, twice with its removal.
PASSKEYS_ADDED_PER_DAY: Final = 20


def identification(address: str, postcode: str, meters: Iterable[str], device: str | None) -> Guess:
    """Return an attempt to be recognised by a postcode and meter numbers; `device` is `device_cookie.budget_key`."""
    of_postcode = _daily("postcode", Counted.METERS, _settings().tries_per_postcode_per_day)
    return _guess(Counted.METERS, address, device, *((meter(), each) for each in meters), (of_postcode, postcode))


def meter() -> Limit:
    """Return the limit on failed identifications by one meter's number."""
    return _daily("meter", Counted.METERS, _settings().tries_per_meter_per_day)


def code(address: str, mailbox: str, device: str | None) -> Guess:
    """Return an attempt to sign in with a code that was sent to a mailbox; `device` as in `identification`."""
    return _guess(Counted.CODES, address, device, (codes(), mailbox))


def codes() -> Limit:
    """Return the limit on wrong sign-in codes for one mailbox."""
    return _daily("code", Counted.CODES, _settings().tries_per_account_per_day)


def passkey(address: str, device: str | None) -> Guess:
    """Return an attempt to sign in with a passkey; `device` as in `identification`."""
    return _guess(Counted.PASSKEYS, address, device)


def password(address: str, account: str) -> Guess:
    """Return an attempt to log in with a password."""
    return _guess(Counted.PASSWORDS, address, None, (passwords(), account))


def passwords() -> Limit:
    """Return the limit on wrong passwords for one account."""
    return _daily("password", Counted.PASSWORDS, _settings().tries_per_account_per_day)


def log_in(address: str) -> Guess:
    """Return an attempt to log in at an EDP's provider, which counts until the browser is back with a log-in."""
    return _guess(Counted.LOG_INS, address, None)


def mail(address: str, device: str | None) -> Guess:
    """Return an attempt to have a sign-in code sent, which counts until a code is used; `device` as in `identification`."""
    return _guess(Counted.MAILS, address, device)


def mails() -> Limit:
    """Return the limit on sign-in codes sent to one mailbox, until one of them is used."""
    most = _settings()
    windows = (_window(most.mails_per_mailbox), Period(most.mails_per_mailbox_per_day, DAY))
    return Limit("mailbox", Counted.MAILS, windows, most.mail_pause_s)


def invitation(address: str) -> Guess:
    """Return an attempt to name a bank, about which the Directory has to be asked."""
    return _guess(Counted.INVITATIONS, address, None)


def evidence() -> Limit:
    """Return the limit on guessed addresses of evidence pages, from one network."""
    return Limit("evidence", Counted.EVIDENCE, (_window(_settings().unknown_links_per_network),))


def receipts() -> Limit:
    """Return the limit on guessed links to receipts, from one network."""
    return Limit("receipt", Counted.RECEIPTS, (_window(_settings().unknown_links_per_network),))


def unknown_requests() -> Limit:
    """Return the limit on unknown request_uris at the authorization endpoint, from one network."""
    return Limit("unknown_request", Counted.REQUESTS, (_window(_settings().unknown_links_per_network),))


def pushed_requests() -> Limit:
    """Return the limit on pushed requests of one client, good ones as well."""
    return Limit("push", Counted.REQUESTS, (_window(_settings().pushed_requests_per_client),))


def named_banks() -> Limit:
    """Return the limit on banks of one client's pushed requests about which the Directory was asked in vain."""
    return Limit("named_bank", Counted.REQUESTS, (_window(_settings().unknown_links_per_network),))


def passkeys_added() -> Limit:
    """Return the limit on passkeys that one account adds, each of which is mailed."""
    return Limit("passkey_added", Counted.PASSKEYS, (Period(PASSKEYS_ADDED_PER_DAY, DAY),))


def reports() -> Limit:
    """Return the limit on reports that are made for one account, good ones as well."""
    return Limit("report", Counted.REPORTS, (_window(_settings().reports_per_account),))


def _guess(kind: Counted, address: str, device: str | None, *shared: tuple[Limit, str]) -> Guess:
    most = _settings()
    own = (Limit(f"{kind}-own", kind, (Period(most.own_tries_per_day, DAY),)), place_of(address))
    if device is not None:
        return Guess(((_daily(f"{kind}-known", kind, most.tries_per_known_browser_per_day), device),), own)
    by_network = (_window(most.tries_per_network), Period(most.tries_per_network_per_day, DAY))
    in_all = (_window(most.tries_in_all), Period(most.tries_in_all_per_day, DAY))
    return Guess(
        own=own,
        limits=(
            (Limit(f"{kind}-network", kind, by_network, most.pause_s), network_of(address)),
            *shared,
            (Limit(f"{kind}-all", kind, in_all, most.pause_in_all_s), ALL),
        ),
    )


def _daily(name: str, counted: Counted, most: int) -> Limit:
    return Limit(name, counted, (Period(most, DAY),), _settings().pause_s)


def _window(most: int) -> Period:
    return Period(most, _settings().window_s)


def _settings() -> LimitsSettings:
    return current().settings.limits
