"""Deployments for tests: real settings, keys and certificates, made once, and a database of the test's own.

What is outside (the Directory, providers, mail) is played: a test puts its own object in the deployment's place for it.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask
from jinja2 import FileSystemBytecodeCache

from consent_server import open_door, store
from consent_server.caller.trust import require_role
from consent_server.deployment import Deployment, Door, Party
from consent_server.outbound.errors import Unreachable
from consent_server.parties import party_of
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout
from consent_server.settings import Settings, load
from consent_server.store.database import db
from tests.database import make_tables

#: The instant of tests whose clock is held (tests/conftest.py): certificates are made a little before it.
START = 1773307800


@cache
def layout() -> Layout:
    """The files of a whole trust framework: certificates, keys and settings of each party. Made once for a test process."""
    made = Layout(Path(tempfile.mkdtemp(prefix="consent-server-tests-")), 8440)
    parties.prepare(made, at=START - 3600)
    return made


def settings_of(party: str, database_url: str, changes: Mapping[str, Any] | None = None) -> Settings:
    """The settings of "edp" or "cap". `changes` are dotted keys, such as {"limits.window_s": 60}."""
    return load(layout().settings(party), {"database.url": database_url, **(changes or {})})


class PlayedCallers:
    """Callers of a test: the certificate is `environ["test.client"]`, trusted and a member's; its role is judged."""

    def identify(self, environ: Mapping[str, Any], roles: tuple[str, ...], at: int) -> MemberCertificate:
        caller = self.member(environ, at)
        require_role(caller, roles)
        return caller

    def member(self, environ: Mapping[str, Any], at: int) -> MemberCertificate:
        caller: MemberCertificate = environ["test.client"]
        return caller


@dataclass
class PlayedMail:
    """Keeps what is sent, as (address, subject, text), unless it is down."""

    sent: list[tuple[str, str, str]] = field(default_factory=list)
    down: bool = False

    def send(self, to: str, subject: str, text: str) -> None:
        if self.down:
            raise Unreachable("connection", "mail.example")
        self.sent.append((to, subject, text))

    @property
    def code(self) -> str:
        """The sign-in code in the mail that was sent last."""
        return self.sent[-1][1].split()[0]


def deploy(settings: Settings, party: Party | None = None) -> Deployment:
    """A deployment with played callers."""
    deployment = Deployment(settings, party or party_of(settings))
    deployment.callers = PlayedCallers()  # type: ignore[assignment]
    return deployment


def opened(deployment: Deployment, door: Door) -> Flask:
    """A door of a deployment, on the database that its settings name."""
    app = open_door(deployment, door)
    app.jinja_env.bytecode_cache = FileSystemBytecodeCache(
        str(layout().directory)
    )  # each door compiles its templates anew
    database = deployment.settings.database
    store.init(app, database.url, database.withdrawal_journal)
    return app


@contextmanager
def in_new_database(app: Flask) -> Iterator[Flask]:
    """Make the tables, and run the block in the application."""
    with app.app_context():
        make_tables()
        yield app
        db.engine.dispose()
