"""What a bank meets outside, played: its CAP's issuer and data, and the Directory."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from consent_server.outbound.directory import Application, DataService, Member
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.outbound.session import Response
from consent_server.outbound.upstream import Metadata, PermissionRecord, Pushed, Tokens, Upstream
from consent_server.sandbox.layout import APPLICATIONS
from tests.bank.answers import ACCOUNT, AT, answer
from tests.deployments import layout


class PlayedUpstream(Upstream):
    """The CAP's issuer. `fault` is raised by each call; with `rotates` every refresh brings a new refresh token."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.pushed: list[Pushed] = []
        self.beside: dict[str, str] = {}
        self.redeemed = 0
        self.of_no_use: BadAnswer | None = None
        self.revoked: list[str] = []
        self.rotates = False
        self.refreshed: list[str] = []
        self.record = PermissionRecord(
            layout().issuer("cap"),
            layout().application("fsp_service"),
            layout().license("emissions"),
            ACCOUNT,
            *(AT, AT + 86400, "https://e.example", False, None, AT, AT, AT + 86400),
        )

    def _may(self) -> None:
        if self.fault:
            raise self.fault

    def metadata(self, issuer: str) -> Metadata:
        token, pushed, revocation, permission = (f"{issuer}/{number}" for number in range(4))
        return Metadata(issuer, f"{issuer}/authorize", token, pushed, revocation, permission, None)

    def push(
        self, metadata: Metadata, license: str, redirect_uri: str, beside: Mapping[str, str] | None = None
    ) -> Pushed:
        self._may()
        self.beside = dict(beside or {})
        url = f"{metadata.authorization_endpoint}?client_id=us&request_uri=urn%3Ax"
        self.pushed.append(Pushed(url, 90, license, redirect_uri, secrets.token_urlsafe(8), secrets.token_urlsafe(8)))
        return self.pushed[-1]

    def redeem(self, *_: Any) -> Tokens:
        self._may()
        self.redeemed += 1
        return Tokens("access", f"refresh-{self.redeemed}", 600, self.of_no_use)

    def revoke(self, metadata: Metadata, refresh_token: str) -> None:
        self.revoked.append(refresh_token)
        raise Unreachable("time", "localhost")

    def refresh(self, metadata: Metadata, license: str, refresh_token: str) -> Tokens:
        self._may()
        self.refreshed.append(refresh_token)
        return Tokens("access", f"{refresh_token}+" if self.rotates else None, 600)

    def permission_record(self, metadata: Metadata, refresh_token: str) -> PermissionRecord:
        self._may()
        return self.record

    def says(self, **changes: Any) -> None:
        """Change the permission record."""
        self.record = replace(self.record, **changes)


class PlayedOutside:
    """The Directory and the CAP's data, at a session's and a directory's methods."""

    def __init__(self) -> None:
        self.upstream = PlayedUpstream()
        self.response = Response(200, {}, "localhost", answer())
        self.asked = ""
        self.during: Callable[[], object] | None = None
        self.services = [self.service()]
        self.suspended: set[str] = set()

    @staticmethod
    def service(member: str = "cap") -> DataService:
        here = layout()
        names = (
            here.data_service("cap"),
            here.application("cap_portal"),
            here.member(member),
            "",
            here.resource("cap"),
        )
        return DataService(*names, here.issuer("cap"))

    def member(self, url: str) -> Member:
        own = [name for name in APPLICATIONS if layout().member_of(name) == url]
        roles = tuple(role for name in own for role in layout().roles_of(name))
        return Member(url, "Tallyleaf Accounting Ltd", f"Brand {url[-8:]}", roles, None, url not in self.suspended)

    def application(self, url: str) -> Application:
        name = next(name for name in APPLICATIONS if layout().application(name) == url)
        home_page = layout().issuer("cap") if name == "cap_portal" else None
        return Application(url, layout().member_of(name), "", tuple(layout().roles_of(name)), None, home_page)

    def data_services(self, _standard: str) -> list[DataService]:
        if not self.services:
            raise Unreachable("time", "directory")
        return self.services

    def get(self, url: str, **_: Any) -> Response:
        self.asked = url
        if self.during:
            self.during()
        return self.response

    def gives(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Let the CAP's data API answer so."""
        self.response = Response(
            status, {name.replace("_", "-"): value for name, value in headers.items()}, "localhost", body
        )
