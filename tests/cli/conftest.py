"""An operator at a command line: commands run in this process, and the clock is given back afterwards."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consent_server import clock
from consent_server.cli import main
from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout

PORT = 18540


@pytest.fixture(autouse=True)
def clock_given_back() -> Iterator[None]:
    yield
    clock.step_by(int)


@pytest.fixture
def command() -> Callable[..., Result]:
    """Run `consent-server` with these arguments; a traceback fails the test."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(main, [str(each) for each in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The files of a sandbox that does not run; nothing may change them."""
    layout = Layout(tmp_path_factory.mktemp("prepared") / "box", PORT)
    layout.directory.mkdir()
    parties.prepare(layout)
    return layout


@pytest.fixture
def deployment(prepared: Layout, tmp_path: Path, command: Callable[..., Result]) -> Path:
    """The settings file of an EDP with keys and a migrated database of its own, and a clock at `tmp_path`/clock."""
    text = prepared.settings("edp").read_text(encoding="utf-8")
    for old, new in (
        (prepared.party("edp") / "keys", tmp_path / "keys"),
        (prepared.database("edp"), tmp_path / "store.db"),
        (prepared.clock, tmp_path / "clock"),
    ):
        assert str(old) in text
        text = text.replace(str(old), str(new))
    config = tmp_path / "settings.toml"
    config.write_text(text, encoding="utf-8")
    clock.write_offset(tmp_path / "clock", 0)
    assert command("keys", "make", "--config", config).exit_code == 0
    assert command("db", "upgrade", "--config", config).exit_code == 0
    return config
