"""The two parties: what an energy data provider and a carbon accounting provider do differently."""

from consent_server.deployment import Party
from consent_server.resource import routes  # noqa: F401 - for the help pages of what guards elsewhere refuse
from consent_server.settings import Settings


def party_of(settings: Settings) -> Party:
    """Return the party that the settings name. Raise BadSettings for what must be mended before it can start."""
    # What the other party needs is not loaded: it takes a second, and half of a process's memory.
    if settings.party == "edp":
        from consent_server.parties.edp import Edp

        return Edp(settings)
    from consent_server.parties.cap import Cap

    return Cap(settings)
