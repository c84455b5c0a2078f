"""A door that gunicorn starts by itself makes no database of a name that is misspelt."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import consent_server
from consent_server.serving import configuration
from consent_server.settings.storage import DatabaseSettings
from consent_server.store.database import DatabaseMissing


def test_a_database_that_is_misspelt_is_refused_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SimpleNamespace(database=DatabaseSettings(url=f"sqlite:///{tmp_path}/sotre.db"))
    monkeypatch.setattr(configuration, "held", lambda: SimpleNamespace(settings=settings, door="public"))
    with pytest.raises(DatabaseMissing, match=r"sotre\.db does not exist: name the right file"):
        consent_server.application()
    assert list(tmp_path.iterdir()) == []
