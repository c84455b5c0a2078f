"""The portal's pages, one short route each."""

from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import audit, clock, store
from consent_server.collect.report import NothingYet
from consent_server.portal import accounts, connecting, standing
from consent_server.portal import result as results
from consent_server.portal.parts import PortalParts, ShownText
from consent_server.store import accounts as stored_accounts
from consent_server.store import connections
from consent_server.web import csrf, headers, pages, parameters
from consent_server.web.refusals import NotFound

View = Callable[..., AnyResponse]

NOT_AN_ADDRESS = "Type your e-mail address, such as name@example.com."
WRONG_CODE = "This code is not right, or it is too old. Check the newest e-mail from us, or have a new code sent."
NOT_CHOSEN = "Choose the company that holds your meter readings."
NOT_TICKED = "Tick the box to say that you give this permission, or press Cancel."
CHANGED = "What is asked has changed since this page was opened. Read it again before you agree."

REFRESH_S = 3
# How long the browser that came back a second time is shown that its first return is still being dealt with.
RETURNING_S = 60
MOST_PENDING = 4


def blueprint(parts: PortalParts) -> Blueprint:
    """The routes of one CAP's portal."""
    portal = Blueprint("portal", __name__)

    # the browser's session and its account

    def visit() -> Any:
        """The browser's session, or None."""
        if "portal_visit" not in g:
            g.portal_visit = parts.sessions.current(request)
        return g.portal_visit

    def data() -> dict[str, Any]:
        return dict(visit().data) if visit() is not None else {}

    def change(edit: Callable[[dict[str, Any]], object]) -> None:
        g.portal_visit = parts.sessions.change(visit(), edit)

    def keep(**values: Any) -> None:
        change(lambda held: held.update(values))

    def begin_with(response: AnyResponse, **values: Any) -> None:
        """Keep values, in a new session where there is none."""
        if visit() is None:
            parts.sessions.begin(response, values)
        else:
            keep(**values)

    def account() -> Any:
        """The signed-in account's row, or None."""
        if "portal_account" not in g:
            known = data().get("account")
            with store.reading() as c:
                g.portal_account = stored_accounts.find(c, known) if known is not None else None
        return g.portal_account

    def bank() -> str | None:
        """The name of the bank that sent this SME, in this session or an earlier one."""
        sender = data().get("fsp")
        if sender is None and account() is not None:
            sender = standing.newest_bank(account().id)
        return connecting.bank(parts, sender)

    # answers

    def here(path: str) -> AnyResponse:
        return redirect(path, 303)

    def page(template: str, status: int = 200, **values: Any) -> Response:
        token = csrf.token(visit().secret) if visit() is not None else ""
        shown = {"csrf": token, "account": account(), "errors": (), **values}
        return pages.render(f"portal/{template}.html", status, **shown)

    def wrong(field: str, text: str) -> tuple[dict[str, str], ...]:
        return ({"field": field, "text": text},)

    def sent(*optional: str) -> dict[str, str]:
        """The fields of our own form. Raises CsrfRefused for anybody else's, and where there is no session to be ours in."""
        form = parameters.form(request, optional=(csrf.FIELD, *optional))
        if visit() is None:
            raise csrf.CsrfRefused("no session")
        csrf.check(request, form.pop(csrf.FIELD, None), visit().secret, parts.origin)
        return form

    def signed_in(view: View) -> View:
        """Only for whoever has signed in; others do so first, and a page that they asked for is then shown."""

        @wraps(view)
        def guarded() -> AnyResponse:
            if account() is not None:
                return view()
            response = here("/sign-in")
            if request.method == "GET":
                # The path of one of our own routes, and never what a query says: no way out to another site.
                begin_with(response, next=request.path)
            return response

        return guarded

    # before signing in

    @portal.get("/")
    def landing() -> AnyResponse:
        return page("landing", bank=bank()) if account() is None else here("/account")

    @portal.get("/start")
    def start() -> AnyResponse:
        """A bank's invitation: `fsp` is the bank's Directory URL, believed only when the Directory says that it is one."""
        response = here("/")
        fsp = parameters.query(request, optional=("fsp",)).get("fsp")
        if connecting.bank(parts, fsp) is not None:
            begin_with(response, fsp=fsp)
        return response

    @portal.get("/sign-in")
    def sign_in() -> AnyResponse:
        asked = parameters.query(request, optional=("cookie",))
        if visit() is not None:
            return page("sign_in", typed={"email": data().get("email", "")})
        if asked:
            return page("no_cookies", 400)
        # The form needs a session to be ours in: come back with one.
        response = here("/sign-in?cookie=set")
        parts.sessions.begin(response, {})
        return response

    @portal.post("/sign-in")
    def send_code() -> AnyResponse:
        """The answer is the same for every address: whether it has an account shows only in its mailbox."""
        typed = sent("email").get("email", "")
        email = accounts.address(typed)
        if email is None:
            return page("sign_in", 422, typed={"email": typed}, errors=wrong("email", NOT_AN_ADDRESS))
        parts.addresses.take(f"mail {request.remote_addr}")
        parts.mails.take(email)
        parts.accounts.send_code(email)
        keep(email=email)
        return here("/sign-in/code")

    @portal.get("/sign-in/code")
    def code() -> AnyResponse:
        email = data().get("email")
        return page("code", email=email) if email is not None else here("/sign-in")

    @portal.post("/sign-in/code")
    def check_code() -> AnyResponse:
        typed = sent("code").get("code", "")
        email = data().get("email")
        if email is None:
            return here("/sign-in")
        sender = f"code {request.remote_addr}"
        # Counted before it is checked, so that guesses sent at the same instant cannot pass together.
        parts.addresses.take(sender)
        parts.codes.take(email)
        found = parts.accounts.check_code(email, typed)
        if found is None:
            return page("code", 422, email=email, errors=wrong("code", WRONG_CODE))
        parts.codes.clear(email)
        parts.mails.clear(email)
        # Only what this sign-in took: whoever has one account must not guess on at others from the same address.
        parts.addresses.give_back(sender)
        parts.addresses.give_back(f"mail {request.remote_addr}")
        kept = {"account": found.sme} | ({"fsp": data()["fsp"]} if "fsp" in data() else {})
        response = here(data().get("next", "/account"))
        # A new handle, and nothing else of the old session: whoever knew it before sign-in knows nothing now.
        parts.sessions.end(request, response)
        parts.sessions.begin(response, kept)
        audit.event("signed_in", account=found.sme)
        return response

    @portal.post("/sign-out")
    def sign_out() -> AnyResponse:
        response = here("/")
        if visit() is not None:
            sent()
            parts.sessions.end(request, response)
        return response

    # the account

    @portal.get("/account")
    @signed_in
    def home() -> AnyResponse:
        live = [each for each in standing.standing(parts, account().id) if each.live]
        connected = [each for each in live if each.kind == standing.CONNECTION]
        released = [each for each in live if each.kind == standing.RELEASE]
        return page("home", connected=connected, released=released, bank=bank())

    # connecting

    @portal.get("/connect")
    @signed_in
    def connect() -> AnyResponse:
        found = connecting.providers(parts)
        only = found[0].service if len(found) == 1 else None
        return page("connect", providers=found, chosen=data().get("provider", only), typed={}, bank=bank())

    @portal.post("/connect")
    @signed_in
    def choose() -> AnyResponse:
        form = sent("provider", "business")
        found = connecting.providers(parts)
        errors: tuple[dict[str, str], ...] = ()
        if not account().business:
            problem = accounts.name_business(account().id, form.get("business", ""))
            errors += wrong("business", problem) if problem else ()
        if form.get("provider") not in {provider.service for provider in found}:
            errors += wrong("providers", NOT_CHOSEN)
        if errors:
            g.pop("portal_account")  # its name may be kept by now
            return page(
                "connect", 422, providers=found, chosen=form.get("provider"), typed=form, bank=bank(), errors=errors
            )
        keep(provider=form["provider"])
        return here("/connect/permission")

    def chosen_provider() -> connecting.Provider | None:
        """The provider that was chosen; None where there is none, or we do not know yet for whom."""
        if not account().business:
            return None
        service = data().get("provider")
        return next((each for each in connecting.providers(parts) if each.service == service), None)

    def permission_page(
        provider: connecting.Provider, text: ShownText, status: int = 200, errors: tuple[dict[str, str], ...] = ()
    ) -> Response:
        target = connecting.destination(parts, provider)
        shown = connecting.question(parts, account(), provider, text)
        keep(shown=shown)
        return page(
            "permission",
            status,
            form_targets=(headers.origin_of(target),),
            provider=provider,
            host=urlsplit(target).netloc,
            text=text,
            shown=shown,
            errors=errors,
        )

    @portal.get("/connect/permission")
    @signed_in
    def permission() -> AnyResponse:
        provider = chosen_provider()
        return permission_page(provider, parts.text_for(provider.member)) if provider else here("/connect")

    @portal.post("/connect/permission")
    @signed_in
    def agree() -> AnyResponse:
        form = sent("agree", "shown")
        provider = chosen_provider()
        if provider is None:
            return here("/connect")
        text = parts.text_for(provider.member)
        if not form.get("shown") == data().get("shown") == connecting.question(parts, account(), provider, text):
            return permission_page(provider, text, 409, wrong("permission-text", CHANGED))
        if form.get("agree") != "yes":
            return permission_page(provider, text, 422, wrong("agree", NOT_TICKED))
        agent = pages.plain(request.user_agent.string, connecting.LONGEST_USER_AGENT)
        visitor = connecting.Visitor(account(), request.remote_addr or "", agent)
        url, pending = connecting.begin(parts, provider, text, visitor, data().get("fsp"))

        def remember(held: dict[str, Any]) -> None:
            waiting = list(held.get("pending", {}).items())[-(MOST_PENDING - 1) :]
            held["pending"] = {**dict(waiting), pending.state: asdict(pending)}

        change(remember)
        return redirect(url, 303)

    @portal.post("/connect/cancel")
    @signed_in
    def cancel() -> AnyResponse:
        sent()
        change(lambda held: held.pop("shown", None))
        return here("/account")

    @portal.get("/callback")
    def callback() -> AnyResponse:
        """Back from the provider. A request under way is taken out of the session: what comes back is used once."""
        state = parameters.query(request, optional=("state",)).get("state", "")
        taken: list[dict[str, Any]] = []

        def take(held: dict[str, Any]) -> None:
            found = held.get("pending", {}).pop(state, None)
            if found is not None:
                taken.append(found)
                held["returned"] = {"state": state, "at": clock.now(), "to": "/connected"}

        if account() is None:
            raise connecting.ReturnNotOurs("nobody is signed in")
        change(take)
        if not taken:
            returned = data().get("returned", {})
            if state and returned.get("state") == state:
                return here(returned["to"])  # a second click on Allow brings the same answer a second time
            raise connecting.ReturnNotOurs("no request with this state is under way in this session")
        pending = connecting.Pending(**taken[0])
        if pending.account != account().id:
            raise connecting.ReturnNotOurs("another account began this")
        to = "/connect"
        try:
            connecting.finish(parts, pending, request.query_string.decode("ascii", "replace"))
            to = "/connected"
        except connecting.Declined:
            to = "/connect/declined"
        finally:
            keep(returned={"state": state, "at": 0, "to": to})
        return here(to)

    @portal.get("/connect/declined")
    @signed_in
    def declined() -> AnyResponse:
        return page("declined")

    @portal.get("/connected")
    @signed_in
    def connected() -> AnyResponse:
        with store.reading() as c:
            live = connections.live(c, account().id, clock.now())
        returning = clock.now() - data().get("returned", {}).get("at", 0) < RETURNING_S
        if not live and not returning:
            return here("/connect")
        waiting = returning or any(row.collected is None for row in live)
        trouble = next((row.trouble for row in live if row.collected is None and row.trouble), None)
        names = [
            each.other for each in standing.standing(parts, account().id) if each.live and each.kind == "connection"
        ]
        response = page("connected", waiting=waiting, trouble=trouble, names=names, bank=bank(), refresh_s=REFRESH_S)
        if waiting:
            response.headers["Refresh"] = str(REFRESH_S)
        return response

    # the result

    @portal.get("/result")
    @signed_in
    def result() -> AnyResponse:
        try:
            found = results.result(account().id)
        except NothingYet:
            return here("/connected")
        if found is None:
            return here("/connect")
        names = {each.member: each.other for each in standing.standing(parts, account().id)}
        return page("result", result=found, names=names, bank=bank())

    # permissions and their withdrawal

    @portal.get("/permissions")
    @signed_in
    def permissions() -> AnyResponse:
        everything = standing.standing(parts, account().id)
        return page(
            "permissions",
            live=[each for each in everything if each.live],
            past=[each for each in everything if not each.live],
        )

    @portal.get("/permissions/withdraw")
    @signed_in
    def withdraw() -> AnyResponse:
        subject = parameters.query(request, optional=("permission",)).get("permission", "")
        found = standing.own(parts, account().id, subject)
        if found is None:
            raise NotFound("permission")
        if not found.live:
            return here("/permissions")
        return page("withdraw", subject=found, falling=standing.falling(parts, account().id, subject))

    @portal.post("/permissions/withdraw")
    @signed_in
    def confirm() -> AnyResponse:
        subject = sent("permission").get("permission", "")
        if standing.own(parts, account().id, subject) is None:
            raise NotFound("permission")
        fell = standing.withdraw_own(parts, account().id, subject)
        if fell:
            keep(withdrawn=[asdict(each) for each in fell])
        return here("/permissions/withdrawn")

    @portal.get("/permissions/withdrawn")
    @signed_in
    def withdrawn() -> AnyResponse:
        fell = data().get("withdrawn")
        return page("withdrawn", fell=fell) if fell else here("/permissions")

    return portal
