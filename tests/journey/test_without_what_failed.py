"""H19: pages while the store or the Directory has failed, in a process that never had either."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consent_server.outbound.errors import Unreachable
from consent_server.store import database
from tests.deployments import deploy, opened, settings_of
from tests.journey.conftest import World

#: No directory for the file, and a port on which nothing listens.
GONE = {"sqlite": "sqlite:///{tmp}/absent/store.db", "postgresql": "postgresql+psycopg://127.0.0.1:1/none"}
PAGES = {
    "edp": ("/authorize?client_id=a&request_uri=b", "/journey/identify?journey=a", "/evidence/abcdefgh", "/manage/permissions"),
    "cap": ("/authorize?client_id=a&request_uri=b", "/journey/sign-in?journey=a", "/evidence/abcdefgh", "/account", "/sign-in"),
}  # fmt: skip


def cookies(client: Any, party: str) -> None:
    for kind in (f"{party}-{'manage' if party == 'edp' else 'portal'}", f"{party}-journey-a"):
        client.set_cookie(f"__Host-{kind}", "x" * 43, domain="localhost", secure=True)


def is_unavailable(response: Any) -> None:
    assert (response.status_code, response.mimetype) == (503, "text/html"), response.get_data(as_text=True)
    assert int(response.headers["Retry-After"]) >= 1
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("party", PAGES)
@pytest.mark.parametrize("kind", GONE)
def test_H19_the_store_is_gone(party: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_prepare_sqlite", lambda engine: None)
    app = opened(deploy(settings_of(party, GONE[kind].format(tmp=tmp_path))), "public")
    for path in PAGES[party]:
        client = app.test_client()
        cookies(client, party)
        is_unavailable(client.get(path, base_url="https://localhost"))


def test_H19_the_authorization_endpoint_asks_no_directory(edp: World) -> None:
    def unreachable(*_: Any) -> Any:
        raise Unreachable("connect", "directory.example")

    edp.deployment.directory = SimpleNamespace(member=unreachable, application=unreachable)  # type: ignore[assignment]
    start = edp.journey()
    browser = edp.browser(start)
    is_unavailable(browser.client.get(start.path, base_url="https://localhost"))
    assert "Something is not working" in browser.open(start.path).html
