"""The sandbox's bank: a start link, a callback, the emissions that it was given, and a portfolio of them.

It is a minimal FSP on the library for banks (consent_server/bank): its own certificate, the permission in the browser, the
emissions API, provenance verified, and withdrawal messages at its mutual-TLS door. What it holds is in JSON files beside its
settings, tokens sealed. A real bank shows its portfolio to its own staff alone.
"""

import json
import os
from pathlib import Path

from flask import Flask

from consent_server import clock, deployment
from consent_server.sandbox.bank import report, views
from consent_server.sandbox.bank.bank import BankProcess, CapAddresses
from consent_server.sandbox.bank.book import Book
from consent_server.settings import load
from consent_server.web import door, language


def application() -> Flask:
    """Return what gunicorn loads; the environment names the settings and the door, as for any party."""
    path = Path(os.environ["CONSENT_CONFIG"])
    settings = load(path, json.loads(os.environ.get("CONSENT_SET", "{}")))
    if settings.sandbox.clock:
        clock.follow(settings.sandbox.clock)
    cap = CapAddresses(**json.loads((path.parent / "bank.json").read_text(encoding="utf-8")))
    bank = BankProcess(settings, cap, Book(path.parent / "book"))
    return mutual_tls(bank) if os.environ["CONSENT_DOOR"] == "mutual_tls" else public(bank)


def public(bank: BankProcess) -> Flask:
    """Return the door with the bank's pages."""
    app = Flask("sandbox-fsp", static_folder=None)
    deployment.install(app, bank)
    door.install(app, bank.settings, "public", ())
    language.install(app, of_reader=False)  # the sandbox is in English alone
    app.register_blueprint(views.pages_of_the_bank)
    app.register_blueprint(report.routes)
    return app


def mutual_tls(bank: BankProcess) -> Flask:
    """Return the door for messages."""
    app = Flask("sandbox-fsp-messages", static_folder=None)
    deployment.install(app, bank)
    door.install(app, bank.settings, "mutual_tls", ("messages", "service"))
    app.register_blueprint(views.inbox)
    return app
