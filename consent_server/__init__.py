"""A consent and authorisation server for the Perseus smart-data scheme.

`create_app(settings, door)` is one of the two doors of one party: which party and which door, and no rules.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from flask import Flask

    from consent_server.settings import Settings

__version__ = "0.1.0"

Door = Literal["public", "mutual_tls"]


def shipped(folder: str) -> Path:
    """The folder `templates` or `config`: inside the package when installed, at the repository's top when not."""
    inside = Path(__file__).parent / folder
    return inside if inside.is_dir() else Path(__file__).parent.parent / folder


def create_app(settings: "Settings", door: Door) -> "Flask":
    """The Flask application of one door. Raises what a deployment must mend before it can start."""
    from flask import Flask

    from consent_server import clock, parties, store
    from consent_server.web import door as shared

    if settings.sandbox.clock:
        clock.follow(settings.sandbox.clock)
    app = Flask(__name__, template_folder=str(shipped("templates")), static_folder=None)
    store.init(app, settings.database.url)
    party = parties.assemble(settings)
    shared.install(app, settings=settings, door=door, brand=party.brand, ready=party.ready)
    for blueprint in party.public if door == "public" else party.mutual_tls:
        app.register_blueprint(blueprint)
    return app


def application() -> "Flask":
    """What gunicorn loads: the door that the environment names (see `consent-server serve`)."""
    from consent_server.settings import load

    overrides = json.loads(os.environ.get("CONSENT_SET", "{}"))
    settings = load(Path(os.environ["CONSENT_CONFIG"]), overrides)
    door: Door = "public" if os.environ["CONSENT_DOOR"] == "public" else "mutual_tls"
    return create_app(settings, door)
