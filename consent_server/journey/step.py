"""What a step of the journey is: a page that is shown, and what follows from the form that it sends."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consent_server.store.tables import Journey, Progress


@dataclass(frozen=True)
class Visit:
    """One request of one journey: its cookie's value, the instant, and where the request came from.

    `device_cookie` is the value of the browser's cookie of that name (web.device_cookie).
    """

    journey: Journey
    secret: str = field(repr=False)
    at: int
    address: str
    user_agent: str
    device_cookie: str = field(default="", repr=False)

    @property
    def progress(self) -> Progress:
        return self.journey.progress


@dataclass(frozen=True)
class FieldError:
    """One thing to mend: the id of the field, and a sentence saying how."""

    field: str
    text: str


@dataclass(frozen=True)
class Page:
    """Show a page: the step's own, unless `template` names another. `progress` is kept before it is shown."""

    values: Mapping[str, object]
    progress: Progress = field(default_factory=Progress)
    errors: tuple[FieldError, ...] = ()
    status: int = 200
    template: str | None = None


@dataclass(frozen=True)
class Onward:
    """This step is done. `proven` says that the SME has just shown who it is: the journey gets a new secret.

    `owns` are the subjects that its browser's device cookie has from now on.
    """

    progress: Progress
    proven: bool = False
    owns: Sequence[str] = ()


@dataclass(frozen=True)
class Ended:
    """The journey is over: where the browser goes, or None when it was over before."""

    redirect: str | None


class Step(ABC):
    """A step of a party's journey, at /journey/<name>.

    `fields` are the form fields that it reads; whatever else is sent is ignored. A plug-in step is another subclass: see
    steps/customer_login_example.
    """

    name: str
    label: str
    template: str
    fields: tuple[str, ...]

    def needed(self, progress: Progress) -> bool:
        """Return whether a journey that has come so far has this step; the others go past it."""
        return True

    @abstractmethod
    def show(self, visit: Visit) -> Page:
        """Return the step's page."""

    @abstractmethod
    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Onward | Ended:
        """Return what follows from the form: the page again with what to mend, the next step, or the end."""
