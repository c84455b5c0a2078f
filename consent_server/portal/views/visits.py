"""What every page of the portal shares: the browser's session, the account that is signed in, and how a page is made."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import wraps
from typing import TypeVar
from urllib.parse import quote

from flask import Response, g, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock, store
from consent_server.portal import invitation, providers
from consent_server.portal.given import nearest_end, newest_bank
from consent_server.store import accounts
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.sessions import SessionData
from consent_server.web import csrf, pages, sessions, typed
from consent_server.web.sessions import BrowserSession
from consent_server.web.typed import FieldError, KeptForm

T = TypeVar("T")

View = Callable[[], AnyResponse]


def of_portal() -> sessions.Sessions:
    """Return the sessions of this portal."""
    return sessions.of_kind("portal")


def session() -> BrowserSession | None:
    """Return this browser's session."""
    if "portal_session" not in g:
        g.portal_session = of_portal().current(request, _read_account)
    found: BrowserSession | None = g.portal_session
    return found


def _read_account(c: store.Connection, held: SessionData) -> None:
    """Read what each page says of the account of a session, once for a request."""
    known = held.get("account")
    g.portal_account = found = accounts.find(c, known) if known is not None else None
    if found is not None:
        g.portal_end, g.portal_bank = nearest_end(c, found.id, clock.now()), newest_bank(c, found.id)


def beside_account(read: Callable[[store.Connection, SmeAccount], T]) -> T | None:
    """Return what `read` finds of the account, in the transaction that reads the session; None where nobody is signed in."""
    found: list[T] = []

    def both(c: store.Connection, held: SessionData) -> None:
        _read_account(c, held)
        if g.portal_account is not None:
            found.append(read(c, g.portal_account))

    g.portal_session = of_portal().current(request, both)
    return found[0] if found else None


def form_secret() -> str:
    """Return the secret that forms of this browser take their token from; it is empty where the browser sent none."""
    held = session()
    return held.secret if held is not None else of_portal().form_secret(request)


def signed_in_session() -> BrowserSession:
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
    session()
    found: SmeAccount | None = g.get("portal_account")
    return found


def signed_in_account() -> SmeAccount:
    """Return the account, in a view that is `signed_in`."""
    found = account()
    assert found is not None
    return found


def bank_url() -> str | None:
    """Return the member URL of the bank that sent this SME, in this session or an earlier one."""
    return data().get("fsp") or invitation.held(request) or g.get("portal_bank")


def bank() -> str | None:
    """Return the name of that bank, while the Directory lists it as one."""
    return providers.bank(bank_url())


def signed_in(view: View) -> View:
    """Return a view for signed-in SMEs. Others sign in first, and then get the page that they asked for."""

    @wraps(view)
    def guarded() -> AnyResponse:
        return view() if account() is not None else to_sign_in()

    return guarded


def to_sign_in() -> AnyResponse:
    """Redirect to the page for signing in, from where a page that was asked for comes next."""
    return see_other(f"/sign-in?next={quote(request.path)}" if request.method == "GET" else "/sign-in")


def see_other(path: str) -> AnyResponse:
    """Return a redirect to a page of ours."""
    return redirect(path, 303)


def page(
    template: str,
    status: int = 200,
    *,
    form_targets: Iterable[str] = (),
    frames: Collection[str] = (),
    script: bool = False,
    before: KeptForm | None = None,
    **values: object,
) -> Response:
    """Return a page of the portal. `form_targets`, `frames` and `script` as in `pages.render`; `before` is what was typed into
    it."""
    token = csrf.token(form_secret()) if form_secret() else ""
    shown: dict[str, object] = {
        "csrf": token,
        "account": account(),
        "ends": g.get("portal_end"),
        "errors": (),
        **values,
    }
    if before is not None:
        shown["errors"] = before.errors
        status = before.status
    name = f"portal/{template}.html"
    return pages.render(name, status, form_targets=form_targets, frames=frames, script=script, **shown)


def to_mend(path: str, errors: Sequence[FieldError], status: int = 422, **values: str) -> AnyResponse:
    """Redirect to a page of ours, which then says what to mend, with the values that were typed (web.typed)."""
    typed.keep(_form(path), form_secret(), KeptForm(values, errors, status))
    return see_other(path)


def typed_before(path: str) -> KeptForm:
    """Return what this browser typed into the form of a page of ours, and what of it is to be mended."""
    return typed.held(_form(path), form_secret())


def mended(*paths: str) -> None:
    """Forget what was typed into forms of ours."""
    typed.forget(*map(_form, paths))


def _form(path: str) -> str:
    return path.partition("?")[0].strip("/").replace("/", "-")


def sent(*optional: str) -> dict[str, str]:
    """Return the fields of our own form. Raise CsrfRefused for any other form."""
    return csrf.form(form_secret(), *optional)
