"""An operator at a command line: commands run in this process, and the clock is given back afterwards."""

import shutil
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


@pytest.fixture(scope="session")
def deployed(prepared: Layout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `deployment` copies: keys and a migrated database, as the commands make them, beside the settings."""
    folder = tmp_path_factory.mktemp("deployed")
    config = deploy(prepared, folder)
    for made in (["keys", "make"], ["db", "upgrade"]):
        assert CliRunner().invoke(main, [*made, "--config", str(config)]).exit_code == 0
    return folder


@pytest.fixture
def deployment(prepared: Layout, deployed: Path, tmp_path: Path) -> Path:
    """The settings file of an EDP with keys and a migrated database of its own, and a clock at `tmp_path`/clock."""
    shutil.copytree(deployed, tmp_path, dirs_exist_ok=True)
    return deploy(prepared, tmp_path)


def deploy(prepared: Layout, folder: Path) -> Path:
    """Write the settings of an EDP whose keys, database and clock are in a folder."""
    text = prepared.settings("edp").read_text(encoding="utf-8")
    for old, new in (
        (prepared.party("edp") / "keys", folder / "keys"),
        (prepared.database("edp"), folder / "store.db"),
        (prepared.clock, folder / "clock"),
    ):
        assert str(old) in text
        text = text.replace(str(old), str(new))
    config = folder / "settings.toml"
    config.write_text(text, encoding="utf-8")
    clock.write_offset(folder / "clock", 0)
    return config
