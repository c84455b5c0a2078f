"""The section "Customer log-in" of docs/operator.md: its example is accepted, and it names what the code has."""

import re
import tomllib
from pathlib import Path

from consent_server.journey.steps.log_in import LogIn
from consent_server.outbound.log_in import ALGORITHMS
from consent_server.settings.journey import JourneySettings, LoginSettings
from tests.deployments import settings_of

PAGE = (Path(__file__).resolve().parents[2] / "docs/operator.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Customer log-in\n")[2].partition("\n## ")[0]


def test_the_example_is_accepted(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
    written = tomllib.loads(example)
    journey, login = JourneySettings(**written["journey"]), LoginSettings(**written["login"])
    changes = {"login.secret": "", **{f"login.{key}": value for key, value in written["login"].items()}}
    read = settings_of("edp", f"sqlite:///{tmp_path / 'x.db'}", {"journey.steps": list(journey.steps), **changes})
    assert read.has_log_in
    assert read.login.model_copy(update={"key": login.key}) == login


def test_it_names_addresses_algorithms_and_settings_as_they_are() -> None:
    for algorithm in ALGORITHMS:
        assert algorithm in SECTION
    assert f"`<public.origin>/journey/{LogIn.name}/return`" in SECTION
    assert "`<public.origin>/manage/log-in/return`" in SECTION
    for setting in LoginSettings.model_fields.keys() - {"issuer", "name", "client_id", "scopes", "button"}:
        assert f"`{setting}`" in SECTION, setting
