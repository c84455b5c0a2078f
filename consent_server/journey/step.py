"""What a step of the journey is: a page that is shown, and what follows from the form that it sends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consent_server.journey.parts import Journey, JourneyParts


@dataclass(frozen=True)
class Visit:
    """One request of one journey: its cookie's value, the instant, and who seems to be there."""

    journey: Journey
    parts: JourneyParts
    secret: str = field(repr=False)
    at: int
    address: str
    user_agent: str

    @property
    def progress(self) -> dict[str, Any]:
        return self.journey.progress


@dataclass(frozen=True)
class FieldError:
    """One thing to mend: the id of the field, and a sentence saying how."""

    field: str
    text: str


@dataclass(frozen=True)
class Page:
    """Show a page: the step's own, unless `template` names another. `progress` is kept before it is shown."""

    values: Mapping[str, Any]
    progress: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[FieldError, ...] = ()
    status: int = 200
    template: str | None = None


@dataclass(frozen=True)
class Onward:
    """This step is done. `proven` says that the SME has just shown who it is: the journey gets a new secret."""

    progress: Mapping[str, Any]
    proven: bool = False


@dataclass(frozen=True)
class Ended:
    """The journey is over: where the browser goes, or None when it had been over before."""

    redirect: str | None


@dataclass(frozen=True)
class Step:
    """A step of a party's journey, at /journey/<name>.

    `fields` are the form fields that it reads; whatever else is sent is ignored. `show` makes its page, `take` judges its
    form. A plug-in step is another value of this kind: see customer_login_example.
    """

    name: str
    label: str
    template: str
    fields: tuple[str, ...]
    show: Callable[[Visit], Page]
    take: Callable[[Visit, Mapping[str, str]], Page | Onward | Ended]
