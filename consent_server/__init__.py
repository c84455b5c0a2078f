"""A consent and authorisation server for the Perseus smart-data scheme.

`create_app(settings, door)` makes one of the two doors of one party.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from consent_server.deployment import Deployment, Door
    from consent_server.settings import Settings

__version__ = "0.1.0"


def shipped(folder: str) -> Path:
    """Return a folder such as `config`: inside the package when installed, at the repository's top when not."""
    inside = Path(__file__).parent / folder
    return inside if inside.is_dir() else Path(__file__).parent.parent / folder


def create_app(settings: "Settings", door: "Door") -> "Flask":
    """Return the Flask application of one door. Raise an error for what must be corrected before it can start."""
    from consent_server import clock, store
    from consent_server.deployment import Deployment
    from consent_server.parties import party_of

    if settings.sandbox.clock:
        clock.follow(settings.sandbox.clock)
    app = open_door(Deployment(settings, party_of(settings)), door)
    store.init(app, settings.database.url, settings.database.withdrawal_journal)
    return app


def open_door(deployment: "Deployment", door: "Door") -> "Flask":
    """Return an application that serves one door of a deployment."""
    from consent_server import deployment as deployments
    from consent_server.web import door as shared
    from consent_server.web.application import DoorApplication

    app = DoorApplication(__name__, static_folder=None)
    deployments.install(app, deployment)
    shared.install(app, deployment.settings, door, deployment.party.openapi[door])
    for blueprint in deployment.party.blueprints(door):
        app.register_blueprint(blueprint)
    return app


def application() -> "Flask":
    """Return the application for gunicorn: the door that its configuration read. Raise DatabaseMissing."""
    from consent_server.serving import configuration
    from consent_server.store.database import require_file
    from consent_server.web import served

    serving = configuration.held()
    require_file(serving.settings.database)
    app = create_app(serving.settings, "public" if serving.door == "public" else "mutual_tls")
    served.write_each_minute(app)
    return app
