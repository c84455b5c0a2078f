"""`consent-server doctor`: examine a deployment before it goes live, and say what to do about each thing that is wrong.

Nothing is kept and nothing is changed. What is outside is asked as the server would ask it, past every cache, and without
our client certificate, so that a bad certificate spoils only its own line.
"""

import logging
from collections.abc import Iterator, Mapping

from consent_server.parties.operator.doctor import certificates, house, scheme
from consent_server.parties.operator.doctor.finding import FAIL, Finding, failing
from consent_server.parties.operator.doctor.outside import Outside
from consent_server.settings import BadSettings, Settings

__all__ = ["FAIL", "Finding", "each_carefully", "examine", "settings_faults"]

log = logging.getLogger("consent_server.doctor")
# Findings describe what other modules would log; without a handler those warnings would appear between them.
logging.getLogger("consent_server").addHandler(logging.NullHandler())


def examine(settings: Settings, at: int, test_mail_to: str = "") -> Iterator[Finding]:
    """Yield every finding as it is made: first what is in files, then what is outside. Send a test mail where one is wanted."""
    yield from each_carefully(
        {
            "roots": certificates.roots(settings, at),
            "servers": certificates.servers(settings, at),
            "client": certificates.client(settings, at),
            "signing": certificates.signing(settings, at),
            "keys": house.keys(settings, at),
            "database": house.database(settings, at),
            "withdrawal journal": house.journal(settings),
            "metering": house.metering(settings, at),
        }
    )
    try:
        outside = Outside(settings)
    except OSError as error:  # an ssl.SSLError is one
        yield failing(f"server roots {settings.keys.server_roots}: {type(error).__name__}", "name a PEM file of roots")
        return
    yield from each_carefully(
        {
            "clock": scheme.clock(settings, outside),
            "revocation list": scheme.revocation_list(settings, outside, at),
            "member": scheme.member(settings, outside, at),
            "application": scheme.application(settings, outside),
            "data service": scheme.data_service(settings, outside),
            "agreements": scheme.agreements(settings, outside, at),
            "allowlist": scheme.allowlist(settings, outside, at),
            "texts": scheme.texts(settings, outside, at),
            "metadata": scheme.metadata(settings, outside),
            "login": house.log_in(settings, outside),
            "mail": house.mail(settings, outside, test_mail_to),
        }
    )


def each_carefully(checks: Mapping[str, Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what each check finds; an unexpected error is a finding too, and the next check still runs."""
    for name, findings in checks.items():
        try:
            yield from findings
        except BadSettings as error:
            yield failing(f"{name}: {error}", "correct this setting, or put the file there that it names")
        except Exception as error:
            log.debug("%s", name, exc_info=True)
            yield failing(f"{name}: could not be looked at ({type(error).__name__}: {error})", "report this")


def settings_faults(message: str) -> Iterator[Finding]:
    """Yield what BadSettings says, one finding for each key."""
    head, *rest = message.splitlines()
    for line in rest or [head]:
        yield failing(f"settings: {line.strip()}", "correct this key; docs/settings.md says what each one means")
