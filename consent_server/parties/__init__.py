"""The two parties: what an energy data provider and a carbon accounting provider do differently."""

from consent_server.deployment import Party
from consent_server.portal import connecting, making  # noqa: F401 - as those below: for the help of what is refused elsewhere
from consent_server.resource import routes  # noqa: F401
from consent_server.settings import Settings
from consent_server.withdrawal import inbox  # noqa: F401


def party_of(settings: Settings) -> Party:
    """Return the party that the settings name. Raise BadSettings for what must be mended before it can start."""
    # The other party is not loaded: it takes a third of the time and of the memory of a start.
    if settings.party == "edp":
        from consent_server.parties.edp import Edp

        return Edp(settings)
    from consent_server.parties.cap import Cap

    return Cap(settings)
