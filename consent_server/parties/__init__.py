"""The two parties as declarations: role, licenses, steps, release. Here the rooms are handed what they may not import."""

from consent_server.parties.party import Party
from consent_server.settings import Settings


def assemble(settings: Settings) -> Party:
    """The party that the settings name, ready to be opened. Raises what a deployment must mend before it can start."""
    from consent_server.parties import cap, edp

    return edp.assemble(settings) if settings.party == "edp" else cap.assemble(settings)


__all__ = ["Party", "assemble"]
