"""What a permission step allows, and for how long."""

from dataclasses import dataclass

from consent_server.scheme import instant
from consent_server.scheme.provenance.container import CLOCK_SKEW, VerifiedStep
from consent_server.scheme.provenance.deployed import licenses_of
from consent_server.scheme.provenance.step import as_object


@dataclass(frozen=True)
class Permitted:
    """`given` and `expires` in POSIX seconds, `expires` None where the step's end cannot be read. `processes` is None where
    none are listed: a form that deployed providers write (deployed.PERMISSION_WITHOUT_PROCESSES)."""

    given: int
    expires: int | None
    licenses: frozenset[str]
    processes: frozenset[str] | None

    def is_given(self, at: int) -> bool:
        return self.given - CLOCK_SKEW <= at

    def is_over(self, at: int) -> bool:
        return self.expires is None or self.expires <= at

    def allows(self, step: VerifiedStep) -> bool:
        """Return whether a transfer's license, or a process' kind, is listed; other steps need no more than a permission."""
        if step["type"] == "transfer":
            return str(step.get("license", step.get("licence"))) in self.licenses
        return step["type"] != "process" or self.processes is None or str(step.get("process")) in self.processes


def permitted(permission: VerifiedStep) -> Permitted:
    """Return what a permission step says (Provenance Records, Permission)."""
    allows = as_object(permission.get("allows"))
    try:
        expires = instant.parse(permission.get("expires"))
    except ValueError:
        expires = None
    processes = _texts(allows["processes"]) if "processes" in allows else None
    return Permitted(made_at(permission), expires, _texts(licenses_of(permission, deployed=True)), processes)


def made_at(step: VerifiedStep) -> int:
    """Return the instant at which a step was made."""
    return instant.parse(step["timestamp"])


def _texts(listed: object) -> frozenset[str]:
    return frozenset(each for each in listed if isinstance(each, str)) if isinstance(listed, list) else frozenset()
