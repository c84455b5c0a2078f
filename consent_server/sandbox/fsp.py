"""The sandbox's bank: a start link, a callback, and the emissions that it was given.

It is an FSP as small as one can be, and the CAP's OAuth client in earnest: its own certificate, PAR, PKCE, the permission
in the SME's browser, tokens, the emissions API, provenance verified, and withdrawal messages at its mutual-TLS door. What
it holds lies in JSON files beside its settings; a real bank would seal the tokens.
"""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from flask import Flask, Response, jsonify, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock
from consent_server.caller import arrival
from consent_server.caller.trust import RevokedSerials, Trust, read_revocation_list, require_role
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.directory import DataService, Directory
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.outbound.revocation_list import RevocationListPoller
from consent_server.outbound.session import MIB, Session
from consent_server.outbound.upstream import Upstream
from consent_server.pki.member_certificate import load_certificates
from consent_server.refusal import Unavailable
from consent_server.scheme import instant
from consent_server.scheme.messages import MessageError, parse_withdrawal
from consent_server.scheme.provenance.container import ProvenanceError, VerifiedStep, verify
from consent_server.scheme.provenance.steps import (
    EMISSIONS_PATH,
    ExpectedTransfer,
    receipt_check,
    scheme_url,
    window_parameters,
)
from consent_server.settings import Settings, load
from consent_server.store.digests import digest
from consent_server.web import cookies, csrf, door, openapi, pages, parameters
from consent_server.withdrawal.inbox import MessageMalformed, MessageNotYours
from consent_server.withdrawal.views import sent_message

COOKIE: Final = "__Host-fsp-visit"
REPORT_MONTHS: Final = 12
_COOKIE_MAX_AGE: Final = 3600
_LARGEST_ANSWER: Final = 32 * MIB
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")

Entry = dict[str, Any]


class Book:
    """What the bank holds: applications under way and permissions, one JSON file each, shared by both of its doors."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    def get(self, name: str) -> Entry | None:
        if not _NAME.fullmatch(name):
            return None
        try:
            found: Entry = json.loads(self._file(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    def all(self, kind: str) -> list[tuple[str, Entry]]:
        """Name and entry of each of a kind, the newest first."""
        found = [(path.stem, self.get(path.stem)) for path in self._folder.glob(f"{kind}-*.json")]
        return sorted(((name, entry) for name, entry in found if entry), key=lambda each: each[1]["at"], reverse=True)

    def change(self, name: str, edit: Callable[[Entry], Entry]) -> None:
        """Replace an entry by what `edit` makes of it ({} when there is none), one change at a time over both doors."""
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            unfinished = self._folder / f"{name}.unfinished"
            unfinished.write_text(json.dumps(edit(self.get(name) or {})), encoding="utf-8")
            unfinished.replace(self._file(name))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"


@dataclass(frozen=True)
class Cap:
    """The CAP that this bank works with: its issuer, its portal, its data API and the license that the bank asks for."""

    issuer: str
    portal: str
    resource: str
    license: str


def application() -> Flask:
    """What gunicorn loads; the environment names the settings and the door, as for any party."""
    path = Path(os.environ["CONSENT_CONFIG"])
    settings = load(path, json.loads(os.environ.get("CONSENT_SET", "{}")))
    if settings.sandbox.clock:
        clock.follow(settings.sandbox.clock)
    book = Book(path.parent / "book")
    if os.environ["CONSENT_DOOR"] == "mutual_tls":
        return mutual_tls(settings, book)
    return public(settings, book, Cap(**json.loads((path.parent / "bank.json").read_text(encoding="utf-8"))))


class Bank:
    """The bank's calls to its CAP."""

    def __init__(self, settings: Settings, cap: Cap) -> None:
        self.settings = settings
        self.cap = cap
        self.callback_uri = f"{settings.public.origin}/callback"
        self.session = Session(settings)
        self.directory = Directory(settings, self.session, MemoryCache())
        self.upstream = Upstream(settings, self.session, MemoryCache())
        self._signing_root = load_certificates(settings.keys.signing_root.read_bytes())[0]

    def name_of(self, member: str, otherwise: str) -> str:
        try:
            return self.directory.member(member).name
        except Unreachable:
            return otherwise

    def service(self) -> DataService:
        """The CAP's entry in the Directory's catalogue. Raises Unreachable."""
        listed = self.directory.data_services(self.settings.scheme.emissions_standard)
        found = next((each for each in listed if each.issuer == self.cap.issuer), None)
        if found is None:
            raise Unreachable("not in the catalogue", "directory")
        return found

    def emissions(self, refresh_token: str) -> Entry | None:
        """The last twelve whole months and who signed for them; None while the CAP is still working them out.

        Raises OAuthRefused, Unreachable, ProvenanceError.
        """
        metadata = self.upstream.metadata(self.cap.issuer)
        token = self.upstream.refresh(metadata, self.cap.license, refresh_token).access_token
        end = instant.month_start(clock.now())
        start = instant.months_later(end, -REPORT_MONTHS)
        query = urlencode({"from": instant.text(start), "to": instant.text(end)}, safe=":")
        answer = self.session.get(f"{self.cap.resource}/emissions?{query}", bearer=token, limit=_LARGEST_ANSWER)
        if answer.must_be(200, 202).status == 202:
            return None
        body = answer.object()
        steps = self._believed(body["provenance"], start, end) if body["data"] else []
        return {"months": _by_month(body["data"]), "signers": _signers(steps), "fetched": clock.now()}

    def _believed(self, record: object, start: int, end: int) -> list[VerifiedStep]:
        """The steps of a record whose signatures hold and whose transfer is the one that we asked for."""
        scheme, service = self.settings.scheme, self.service()
        steps = verify(record, scheme.trust_framework, self._signing_root)
        expected = ExpectedTransfer(
            recipients={self.settings.member.url, self.settings.member.application},
            signer_member=service.member,
            signer_application=service.application or "",
            signer_role=scheme.cap_roles[0],
            scheme=scheme_url(scheme.registry),
            standard=scheme.emissions_standard,
            license=self.cap.license,
            service=service.id,
            path=EMISSIONS_PATH,
            parameters=window_parameters(start, end),
            at=clock.now(),
        )
        receipt_check(steps, expected)
        return steps


def _by_month(data: list[Entry]) -> list[Entry]:
    """[{"start", "electricity", "gas"}] in order: tonnes, and None for what is not in the answer."""
    months: dict[int, Entry] = {}
    for each in data:
        start = instant.parse(each["from"])
        month = months.setdefault(start, {"start": start, "electricity": None, "gas": None})
        month[each["type"]] = each["emissions"]["value"] / 1000
    return [months[start] for start in sorted(months)]


def _signers(steps: list[VerifiedStep]) -> list[Entry]:
    """Who signed, in the order of the data's way here: name, roles in words, and what was signed for."""
    found: dict[str, Entry] = {}
    for step in steps:
        signed = step["_signature"]["signed"]
        roles = [role.rstrip("/").rsplit("/", 1)[-1].replace("-", " ") for role in signed["roles"]]
        entry = found.setdefault(signed["application"], {"member": signed["member"], "roles": roles, "signed": {}})
        entry["signed"][step["type"]] = entry["signed"].get(step["type"], 0) + 1
    return list(found.values())


def public(settings: Settings, book: Book, cap: Cap) -> Flask:
    """The bank's pages."""
    bank = Bank(settings, cap)
    app = Flask("sandbox-fsp", static_folder=None)
    door.install(
        app,
        settings=settings,
        door="public",
        brand=lambda: bank.name_of(settings.member.url, "The bank"),
        ready={},
    )

    def message(title: str, text: str, status: int = 200) -> Response:
        return pages.render("sandbox/bank_message.html", status, title=title, text=text)

    def cap_name() -> str:
        try:
            return bank.name_of(bank.service().member, "your carbon accounting provider")
        except Unreachable:
            return "your carbon accounting provider"

    def unreachable() -> Response:
        return message(
            "We cannot reach them just now", f"{cap_name()} does not answer. Nothing was changed. Try again later.", 502
        )

    @app.get("/")
    def home() -> Response:
        secret = request.cookies.get(COOKIE) or secrets.token_urlsafe(32)
        response = pages.render(
            "sandbox/bank.html",
            form_targets=(cap.issuer,),
            start=f"{cap.portal}/start?{urlencode({'fsp': settings.member.url})}",
            given=book.all("permission"),
            cap=cap_name(),
            csrf=csrf.token(secret),
        )
        cookies.set_cookie(response, COOKIE, secret, _COOKIE_MAX_AGE)
        return response

    @app.post("/apply")
    def apply() -> AnyResponse:
        """Ask the CAP's issuer for the SME's permission, and send the browser there."""
        form = parameters.form(request, optional=(csrf.FIELD,))
        secret = request.cookies.get(COOKIE, "")
        if not secret:
            raise csrf.CsrfRefused("no cookie")
        csrf.check(request, form.get(csrf.FIELD), secret, settings.public.origin)
        try:
            pushed = bank.upstream.push(bank.upstream.metadata(cap.issuer), cap.license, bank.callback_uri)
        except OAuthRefused as refused:
            return message("We could not ask", f"{cap_name()} refused our request: {refused.error}.", 502)
        except Unreachable:
            return unreachable()
        begun = {
            "at": clock.now(),
            "browser": digest(secret),
            "state": pushed.state,
            "verifier": pushed.code_verifier,
            "to": None,
        }
        book.change(_pending(pushed.state), lambda _: begun)
        return redirect(pushed.authorization_url, 303)

    def take(state: str) -> tuple[Entry | None, str | None]:
        """The application with this state, once, in the browser that began it; and where its first return went."""
        taken: list[Entry] = []
        entry = book.get(_pending(state))
        if entry is None or not secrets.compare_digest(entry["browser"], digest(request.cookies.get(COOKIE, ""))):
            return None, None

        def once(held: Entry) -> Entry:
            if held["to"] is None:
                taken.append(held)
            return {**held, "to": held["to"] or "/", "verifier": ""}

        book.change(_pending(state), once)
        return (taken[0], None) if taken else (None, (book.get(_pending(state)) or {}).get("to"))

    @app.get("/callback")
    def callback() -> AnyResponse:
        state = parameters.query(request, optional=("state",)).get("state", "")
        begun, went_to = take(state)
        if went_to is not None:
            return redirect(went_to, 303)  # a second click on Allow: the same answer once more
        if begun is None:
            return message("No application is under way here", "Start again from our first page, in this browser.", 400)
        try:
            metadata, member = bank.upstream.metadata(cap.issuer), bank.service().member
            code = bank.upstream.callback(metadata, request.query_string.decode("ascii", "replace"), begun["state"])
            tokens = bank.upstream.redeem(metadata, bank.callback_uri, cap.license, code, begun["verifier"])
        except OAuthRefused as refused:
            if refused.error == "access_denied":
                return message("You did not give permission", "We get nothing. You can apply again at any time.")
            return message("It did not work", f"{cap_name()} answered: {refused.error}. We got nothing.", 502)
        except Unreachable as fault:
            return message("It did not work", f"The answer cannot be used ({fault.kind}). We got nothing.", 502)
        name = f"permission-{secrets.token_hex(8)}"
        given = {"at": clock.now(), "member": member, "refresh_token": tokens.refresh_token, "withdrawn": None}
        book.change(name, lambda _: given)
        book.change(_pending(state), lambda held: {**held, "to": f"/emissions/{name}"})
        return redirect(f"/emissions/{name}", 303)

    @app.get("/emissions/<name>")
    def emissions(name: str) -> Response:
        """Read the last twelve whole months with the token, and verify their provenance."""
        held = book.get(name) if name.startswith("permission-") else None
        if held is None:
            return message("There is no such permission", "Look at our first page for those that we hold.", 404)
        if held["withdrawn"]:
            day = pages.moment(held["withdrawn"])
            return message(
                "This permission was withdrawn",
                f"{cap_name()} told us on {day}. We have deleted the emissions and the token that we got with it.",
            )
        try:
            found = bank.emissions(held["refresh_token"])
        except OAuthRefused:
            return message("This permission no longer holds", f"{cap_name()} gives us no emissions with it any more.")
        except ProvenanceError as error:
            return message("We do not believe these figures", f"Their provenance does not hold: {error}.", 502)
        except (Unreachable, KeyError, TypeError, ValueError):
            return unreachable()
        if found is None:
            response = message("The emissions are still being worked out", "This page looks again in a few seconds.")
            response.headers["Refresh"] = "5"
            return response
        book.change(name, lambda now: now if now["withdrawn"] else {**now, "emissions": found})
        named = [{**signer, "name": bank.name_of(signer["member"], signer["member"])} for signer in found["signers"]]
        return pages.render("sandbox/bank_emissions.html", found=found, signers=named, given=held["at"], cap=cap_name())

    return app


def _pending(state: str) -> str:
    return f"pending-{digest(state)}"


def mutual_tls(settings: Settings, book: Book) -> Flask:
    """The bank's door for messages: a withdrawal deletes what the permission gave."""
    root = load_certificates(settings.clients.root.read_bytes())[0]
    issuers = load_certificates(settings.clients.issuers.read_bytes()) if settings.clients.issuers else []

    def read(body: bytes) -> RevokedSerials:
        return read_revocation_list(body, issuers, root, clock.now())

    revoked = RevocationListPoller(settings, Session(settings), read)
    trust = Trust(settings, revoked)

    def has_list() -> dict[str, int]:
        found = revoked()
        if found is None:
            raise Unavailable("no revocation list yet")
        return {"number": found.number, "fetched": found.fetched}

    app = Flask("sandbox-fsp-messages", static_folder=None)
    door.install(app, settings=settings, door="mutual_tls", brand=lambda: "", ready={"revocation_list": has_list})
    app.register_blueprint(openapi.blueprint("messages", "service"))

    @app.post("/messages")
    def messages() -> Response:
        sender = trust.caller(arrival.arrived(request.environ, settings.clients), clock.now())
        require_role(sender, settings.scheme.cap_roles)
        try:
            token = parse_withdrawal(sent_message(), settings.scheme.withdrawal_subjects)
        except MessageError as error:
            raise MessageMalformed(str(error)) from None
        held = [(name, each) for name, each in book.all("permission") if not each["withdrawn"]]
        for name, each in held:
            if not secrets.compare_digest(each["refresh_token"], token):
                continue
            if each["member"] != sender.member:
                raise MessageNotYours("a permission of another CAP")
            withdrawn = {"at": each["at"], "member": each["member"], "withdrawn": clock.now()}
            book.change(name, lambda _, ended=withdrawn: ended)  # type: ignore[misc]
            return jsonify(effect="withdrawn")
        return jsonify(effect="nothing")  # Message Delivery: what is not known (any more) changes nothing

    return app
