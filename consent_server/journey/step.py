"""What a step of the journey is: a page that is shown, and what follows from the form that it sends."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from consent_server import store
from consent_server.store.tables.journeys import Journey, Progress
from consent_server.store.tables.sessions import SessionData
from consent_server.web.sessions import BrowserSession
from consent_server.web.typed import FieldError


@dataclass(frozen=True)
class Visit:
    """One request of one journey: its cookie's value, the instant, and where the request came from.

    `device_cookie` is the value of the browser's cookie of that name (web.device_cookie). `session` is this browser's session
    at the portal, on a step that `uses_session`; `beside` is what the step has read beside the journey (Step.beside).
    """

    journey: Journey
    secret: str = field(repr=False)
    at: int
    address: str
    user_agent: str
    device_cookie: str = field(default="", repr=False)
    session: BrowserSession | None = None
    beside: object = None

    @property
    def account(self) -> str:
        """Return the id of the account that is signed in at the portal in this browser; it is empty where none is."""
        return self.session.data.get("account", "") if self.session is not None else ""

    @property
    def progress(self) -> Progress:
        return self.journey.progress


@dataclass(frozen=True)
class Page:
    """Show a page: the step's own, unless `template` names another. `progress` is kept before it is shown.

    `form_targets` are origins to which its form may end up redirecting (web.headers). With `refresh_s` the browser looks again
    by itself. `script` says that it has one of our static scripts.
    """

    values: Mapping[str, object]
    progress: Progress = field(default_factory=Progress)
    errors: Sequence[FieldError] = ()
    status: int = 200
    template: str | None = None
    form_targets: tuple[str, ...] = ()
    refresh_s: int = 0
    script: bool = False


@dataclass(frozen=True)
class Away:
    """Send the browser to another address. `progress` is kept before it leaves.

    It comes back to /journey/<step>/return with the state that it took along (`state_of`): by that the journey is found.
    """

    redirect: str = field(repr=False)
    progress: Progress


@dataclass(frozen=True)
class Onward:
    """This step is done. `proven` says that the SME has just shown who it is: the journey gets a new secret.

    `owns` are the subjects that its browser's device cookie has from now on. `then` is called once this is kept, such as to
    send a mail; when it raises anything, the step is open again.
    """

    progress: Progress
    proven: bool = False
    owns: Sequence[str] = ()
    then: Callable[[], None] | None = None


@dataclass(frozen=True)
class Ended:
    """The journey is over: where the browser goes, or None when it was over before."""

    redirect: str | None


#: What follows from a step.
Outcome = Page | Onward | Ended | Away


class Step(ABC):
    """A step of a party's journey, at /journey/<name>.

    `fields` are the form fields that it reads; whatever else is sent is ignored. Of these `kept` are shown again with what was
    typed, also on Back: no code and no password is. A plug-in step is another subclass: see
    steps/customer_login_example. A step that sends the browser Away names in `returns` what comes back in the query, `state`
    among it. `offer` are the words of the link to it where there are several ways to show who one is.
    """

    name: str
    label: str
    template: str
    fields: tuple[str, ...]
    kept: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    offer: str = ""
    uses_session = False

    def needed(self, progress: Progress) -> bool:
        """Return whether a journey that has come so far has this step; the others go past it."""
        return True

    def beside(self, c: store.Connection, journey: Journey, held: SessionData, at: int) -> object:
        """Return what the step needs of the store, read in the transaction in which its journey is found.

        `held` is what this browser's session at the portal holds, where the step uses one. Whether this browser may go on with
        the journey is not known yet.
        """
        return None

    @abstractmethod
    def show(self, visit: Visit) -> Outcome:
        """Return the step's page, or what follows from something that was waited for or done before."""

    @abstractmethod
    def take(self, visit: Visit, form: Mapping[str, str]) -> Outcome:
        """Return what follows from the form: the page again with what to mend, the next step, the end, or the way out."""

    def act(self) -> AbstractContextManager[None]:
        """Return what `take` runs in, with what is kept of it: `store.together()` for a step that calls nobody and waits for
        nothing but our store.
        """
        return nullcontext()

    def resume(self, visit: Visit, returned: Mapping[str, str]) -> Onward | None:
        """Return what follows when the browser is back: the next step, or None for this step's page once more.

        The view has found the journey by `state`, and the browser holds its secret. That this very state was sent out, and
        that it is used once, is for the step to check.
        """
        return None


def state_of(journey_id: str) -> str:
    """Return a new state for a browser that is sent away: it names the journey, and cannot be guessed."""
    return f"{journey_id}.{secrets.token_urlsafe(32)}"


def journey_of(state: str) -> str:
    """Return the id of the journey that a state names."""
    return state.partition(".")[0]
