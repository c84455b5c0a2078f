"""Which refresh token a CAP uses next, after an issuer's answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from consent_server import settings, store
from consent_server.collect.gather import CollectParts
from consent_server.outbound.upstream import Tokens
from consent_server.parties import cap
from consent_server.parties.foundation import Foundation
from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout
from consent_server.store import accounts, connections
from consent_server.store.database import db

NOW = 1773307800
ISSUER = "https://auth.edp.example"


class Issuer:
    """Takes any refresh token, notes it, and answers with `next` as the refresh token."""

    def __init__(self) -> None:
        self.next: str | None = None
        self.presented: list[str] = []

    def metadata(self, issuer: str) -> str:
        return issuer

    def refresh(self, metadata: str, license: str, held: str) -> Tokens:
        self.presented.append(held)
        return Tokens("access", self.next, 600)


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Foundation]:
    layout = Layout(tmp_path, 8440)
    parties.prepare(layout)
    app = Flask("collecting-test")
    store.init(app, f"sqlite:///{tmp_path}/collecting.sqlite")
    with app.app_context():
        db.create_all()
        base = Foundation(settings.load(layout.settings("cap")))
        with store.writing() as c:
            accounts.add(c, id="acme", email="owner@acme.example", business="Acme", created=0)
            connections.add(
                c,
                id="c",
                account="acme",
                issuer=ISSUER,
                resource="https://data.edp.example",
                member="https://directory.example/m/edp",
                application="https://directory.example/a/edp",
                license="https://registry.example/license",
                refresh_sealed=base.sealer.seal("first"),
                refresh_mac=base.sealer.mac("first"),
                granted=NOW,
                expires=4102444800,
                collect_due=NOW,
            )
        yield base
        db.engine.dispose()


@pytest.mark.parametrize(("answered", "used_next"), [("second", "second"), ("first", "first"), (None, "first")])
def test_the_newest_refresh_token_is_the_one_that_is_used(
    base: Foundation, monkeypatch: pytest.MonkeyPatch, answered: str | None, used_next: str
) -> None:
    issuer = Issuer()
    issuer.next = answered
    monkeypatch.setattr(base, "upstream", issuer)
    collecting: CollectParts = cap._collecting(base)

    def held() -> Any:
        with store.reading() as c:
            return connections.find(c, "c")

    for _ in range(2):
        assert collecting.access_token(held()) == "access"
    assert issuer.presented == ["first", used_next]
    # A withdrawal message quotes the newest one: the connection is found by it.
    with store.reading() as c:
        found = connections.by_refresh_mac(c, base.sealer.mac(used_next))
    assert found is not None
    assert found.id == "c"
