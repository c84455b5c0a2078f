"""What every page of the portal shares: the browser's session, the account that is signed in, and how a page is made."""

from collections.abc import Callable, Collection, Iterable
from functools import wraps
from urllib.parse import quote

from flask import Response, g, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import store
from consent_server.journey.hand_over import PORTAL
from consent_server.portal import invitation, providers
from consent_server.portal.standing import newest_bank
from consent_server.store import accounts
from consent_server.store.tables import SessionData, SmeAccount
from consent_server.web import csrf, pages, sessions
from consent_server.web.sessions import BrowserSession

KIND = PORTAL

View = Callable[[], AnyResponse]


def of_portal() -> sessions.Sessions:
    """Return the sessions of this portal."""
    return sessions.of_kind(KIND)


def session() -> BrowserSession | None:
    """Return this browser's session."""
    if "portal_session" not in g:
        g.portal_session = of_portal().current(request)
    found: BrowserSession | None = g.portal_session
    return found


def form_secret() -> str:
    """Return the secret that forms of this browser take their token from; it is empty where the browser sent none."""
    held = session()
    return held.secret if held is not None else of_portal().form_secret(request)


def browser() -> BrowserSession:
    """Return the session of a browser that is signed in, for what goes on after its request."""
    found = session()
    assert found is not None
    return found


def data() -> SessionData:
    """Return what the session holds; an empty value where there is no session."""
    held = session()
    return held.data if held is not None else {}


def change(edit: Callable[[SessionData], object]) -> None:
    """Change what the session holds; requests of one browser that arrive together change it one after the other."""
    held = session()
    if held is not None:
        g.portal_session = of_portal().change(held, edit)


def keep(values: SessionData) -> None:
    """Keep values in the session."""
    change(lambda held: held.update(values))


def account() -> SmeAccount | None:
    """Return the account that is signed in."""
    if "portal_account" not in g:
        known = data().get("account")
        with store.reading() as c:
            g.portal_account = accounts.find(c, known) if known is not None else None
    found: SmeAccount | None = g.portal_account
    return found


def signed_in_account() -> SmeAccount:
    """Return the account, in a view that is `signed_in`."""
    found = account()
    assert found is not None
    return found


def account_changed() -> None:
    """Read the account again the next time it is asked for."""
    g.pop("portal_account", None)


def bank_url() -> str | None:
    """Return the member URL of the bank that sent this SME, in this session or an earlier one."""
    sender, known = data().get("fsp") or invitation.held(request), account()
    return newest_bank(known.id) if sender is None and known is not None else sender


def bank() -> str | None:
    """Return the name of that bank, while the Directory lists it as one."""
    return providers.bank(bank_url())


def signed_in(view: View) -> View:
    """Return a view for signed-in SMEs. Others sign in first, and then get the page that they asked for."""

    @wraps(view)
    def guarded() -> AnyResponse:
        if account() is not None:
            return view()
        return see_other(f"/sign-in?next={quote(request.path)}" if request.method == "GET" else "/sign-in")

    return guarded


def see_other(path: str) -> AnyResponse:
    """Return a redirect to a page of ours."""
    return redirect(path, 303)


def page(
    template: str,
    status: int = 200,
    *,
    form_targets: Iterable[str] = (),
    frames: Collection[str] = (),
    **values: object,
) -> Response:
    """Return a page of the portal. `form_targets` and `frames` as in `pages.render`."""
    token = csrf.token(form_secret()) if form_secret() else ""
    shown = {"csrf": token, "account": account(), "errors": (), **values}
    return pages.render(f"portal/{template}.html", status, form_targets=form_targets, frames=frames, **shown)


def sent(*optional: str) -> dict[str, str]:
    """Return the fields of our own form. Raise CsrfRefused for any other form."""
    return csrf.form(form_secret(), *optional)
