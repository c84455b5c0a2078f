"""A database that only follows another may not know yet what has ended: nothing is decided from it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consent_server.pki.member_certificate import MemberCertificate
from tests.database import postgresql
from tests.issuer import conftest as issuing


@pytest.fixture
def primary(certificates: dict[str, MemberCertificate]) -> Iterator[tuple[Any, Any, Any]]:
    """(an issuer, what turns its database into a standby that lags for ever, what makes that a primary again)."""
    with tempfile.TemporaryDirectory(prefix="consent-server-postgresql-", ignore_cleanup_errors=True) as folder:

        def start() -> Any:
            return postgresql(folder)

        def demote() -> None:
            server.cleanup()
            Path(folder, "standby.signal").touch()
            start()

        server = start()
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        running = issuing.Issuer(issuing.settings_for(url), certificates)
        with running.public.app_context():
            issuing.db.create_all()
        yield running, demote, lambda: start().psql("SELECT pg_promote()")
        running.close()
        start().cleanup()


def test_G08_nothing_is_decided_from_a_standby(primary: tuple[Any, Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    issuer, demote, promote = primary
    token = issuer.tokens()["refresh_token"]
    granted = issuer.grant()
    demote()
    # Both only read, and would find what they look for.
    asked = [issuer.refresh(token), issuer.post("/permission", {"token": token}), issuer.redeem(granted)]
    for answer in asked:
        assert (answer.status_code, answer.get_json()["error"]) == (503, "temporarily_unavailable")
        assert answer.headers["Retry-After"]
    ready = issuer.call("GET", "/ready")
    assert ready.status_code == 503
    assert "database" in ready.get_json()["failing"]
    assert any("standby" in record.getMessage() for record in caplog.records), "the operator's log says why"
    promote()
    assert issuer.refresh(token).status_code == issuer.redeem(granted).status_code == 200
