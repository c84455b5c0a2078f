"""What businesses and banks do at a CAP."""

import itertools
from collections.abc import Callable
from typing import Any

from flask import current_app

from consent_server import store
from consent_server.issuer import decision
from consent_server.issuer.decision import Decision, TextIsNotTheLicense
from consent_server.store import accounts, connections, journeys, outbox, permissions, requests
from consent_server.store.digests import digest, new_id
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.journeys import Journey, PushedRequest
from consent_server.store.tables.permissions import Permission
from consent_server.withdrawal.withdraw import Withdrawal
from tests.collect.conftest import Cap
from tests.faults.racing import at_once

ASKED = Withdrawal("sme", "portal", "the SME withdrew")
_numbers = itertools.count()


class Portal:
    """A CAP whose SMEs each have connections, and banks that ask for their emissions."""

    def __init__(self, cap: Cap) -> None:
        self.cap, self.provider = cap, cap.provider()
        app: Any = current_app
        self._app = app._get_current_object()

    def sme(self) -> str:
        name = f"sme-{next(_numbers)}"
        with store.writing() as c:
            accounts.add(c, SmeAccount(name, f"{name}@example.org", name, created=0))
        return name

    def connect(self, sme: str, due: int | None = None) -> str:
        return self.cap.connect(self.provider, new_id(), account=sme, collect_due=due)

    def asked(self) -> Journey:
        """A bank's request, opened by the SME."""
        license_, at, bank = next(iter(self.cap.deployment.licenses)), self.cap.clock.instant, "https://bank.example"
        values = {"client_id": bank, "member": bank, "redirect_uri": bank, "state": None, "license": license_}
        pushed = PushedRequest(
            digest=digest(new_id()), certificate="", code_challenge="", created=at, expires=at, **values
        )
        journey = new_id()
        with store.writing() as c:
            requests.push(c, pushed)
            journeys.open(c, journey, "secret", pushed, at)
            found = journeys.find(c, journey)
        assert found is not None
        return found

    def grant(self, sme: str, journey: Journey) -> str | None:
        """The SME's agreement; None when it is refused, because no connection is left."""
        with store.reading() as c:
            connected = connections.live(c, sme, self.cap.clock.instant)
        decided = Decision(
            agreed=True,
            sme=sme,
            who={"business": sme, "method": "e-mail", "strength": "low"},
            meters=[],
            fuels=("electricity", "gas"),
            text_shown="",
            shown_sha256="0" * 64,
            raw_sha256="0" * 64,
            names={},
            address="",
            user_agent="",
            code=new_id(),
            named_connections=[row.id for row in connected],
        )
        try:
            return decision.conclude(journey, decided)
        except TextIsNotTheLicense:
            return None

    def permissions(self, sme: str) -> list[Permission]:
        with store.reading() as c:
            return permissions.of_sme(c, sme)

    def owed(self, subject: str) -> list[str]:
        with store.reading() as c:
            return [call.kind for call in outbox.of_subject(c, subject)]

    def at_once(self, *acts: Callable[[], Any]) -> list[Any]:
        def inside(act: Callable[[], Any]) -> Any:
            with self._app.app_context():
                return act()

        return at_once([lambda act=act: inside(act) for act in acts])
