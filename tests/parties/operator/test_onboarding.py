"""`consent-server onboard check`: what is done, what is still to do, and a request for a certificate that is not there yet."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from consent_server import clock
from consent_server.cli import main
from consent_server.parties.operator import onboarding
from consent_server.parties.operator.doctor import certificates
from consent_server.parties.operator.doctor.finding import doubtful, fine
from consent_server.parties.operator.onboarding import JoiningStep
from consent_server.sandbox.layout import Layout
from consent_server.settings import Settings, load
from tests.conftest import RunningSandbox, free_ports
from tests.deployments import START, settings_of

COMMAND = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=edp -keyout {} -out {}"


@pytest.fixture(autouse=True)
def clock_given_back() -> Iterator[None]:
    yield
    clock.step_by(int)


# a request that is not answered yet


@pytest.fixture
def asking(tmp_path: Path) -> Settings:
    """An EDP that has neither of the Directory's certificates."""
    made = settings_of("edp", "sqlite://")
    missing = {
        "client_certificate": tmp_path / "client.pem",
        "client_key": tmp_path / "client.key",
        "signing_certificate": tmp_path / "signing.pem",
        "signing_key": tmp_path / "signing.key",
    }
    return made.model_copy(update={"keys": made.keys.model_copy(update=missing)})


def make(key: Path, request: Path) -> None:
    subprocess.run(COMMAND.format(key, request).split(), check=True, capture_output=True)


def another(folder: Path) -> None:
    make(folder / "other.key", folder / "client.csr")
    make(folder / "client.key", folder / "other.csr")


REQUESTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "none": (lambda folder: None, "no request: "),
    "made": (lambda folder: make(folder / "client.key", folder / "client.csr"), "requested, not issued"),
    "of another key": (another, "is not a request for"),
    "not PEM": (lambda folder: [(folder / f"client.{end}").write_text("?") for end in ("csr", "key")], "is not PEM"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_for_a_certificate(asking: Settings, case: str, tmp_path: Path) -> None:
    spoil, says = REQUESTS[case]
    spoil(tmp_path)
    client, signing = certificates.requests(asking)
    assert (client.level, signing.level) == ("FAIL", "FAIL")
    assert says in client.what
    assert "no request" in signing.what
    assert client.todo


def test_an_issued_certificate_needs_no_request() -> None:
    assert [found.level for found in certificates.requests(settings_of("edp", "sqlite://"))] == ["ok", "ok"]


# the steps


def test_a_step_that_fails_leaves_its_tasks_open_and_others_as_they_are(
    asking: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = f"https://localhost:{free_ports(1)}"
    schemes = asking.scheme.model_copy(update={"directory": nobody, "registry": nobody})
    found = list(onboarding.steps(asking.model_copy(update={"scheme": schemes}), START))
    undone = {step.title for step in found if not step.done}
    assert {onboarding.MEMBERSHIP, onboarding.CERTIFICATES, onboarding.CATALOGUE, onboarding.TEXTS} <= undone
    states = {task.what: task.state for task in onboarding.tasks(asking, found)}
    assert set(states.values()) == {"open", "ask"}
    assert any("in the role of an EDP" in what for what in states)


def test_a_task_is_done_once_its_step_is_clear() -> None:
    lapsed = doubtful("our agreement with the scheme: none in force in its role", "have it renewed")
    found = [JoiningStep(onboarding.TEXTS, (fine("license"),)), JoiningStep(onboarding.MEMBERSHIP, (lapsed,))]
    assert all(step.done for step in found)
    done = [task.what for task in onboarding.tasks(settings_of("cap", "sqlite://"), found) if task.state == "done"]
    assert len(done) == 1
    assert done[0].startswith("Read the permission text")


@pytest.mark.xdist_group("sandbox")
def test_a_sandbox_has_joined(sandbox: RunningSandbox) -> None:
    layout = Layout(sandbox.directory, sandbox.base_port)
    result = CliRunner().invoke(main, ["onboard", "check", "--config", str(layout.settings("edp"))])
    assert result.exit_code == 0, result.output
    assert result.output.endswith("Every step that can be checked is done.\n")
    for line in ("heartbeat: ", "first grant: a client was given tokens", "client certificate: issued"):
        assert f"ok    {line}" in result.output
    assert "done  Pass the trust framework" in result.output
    assert "ask   Name a Trust Framework Lead Officer" in result.output


@pytest.mark.xdist_group("sandbox")
def test_what_is_missing_is_named_and_fails(sandbox: RunningSandbox, tmp_path: Path) -> None:
    layout = Layout(sandbox.directory, sandbox.base_port)
    config = str(layout.settings("edp"))
    database = f"database.url=sqlite:///{tmp_path / 'new.db'}"
    assert CliRunner().invoke(main, ["db", "upgrade", "--config", config, "--set", database]).exit_code == 0
    changed = ["--set", database, "--set", f"member.url={layout.member('fsp')}"]
    result = CliRunner().invoke(main, ["onboard", "check", "--config", config, *changed])
    assert result.exit_code == 1
    assert "FAIL  first grant: no client was given tokens yet" in result.output
    assert "open  Sign the trust framework's agreement" in result.output
    assert "Not done: Membership, role and agreement" in result.output


@pytest.mark.xdist_group("sandbox")
def test_a_first_grant_is_looked_for_in_a_sandbox_alone(sandbox: RunningSandbox) -> None:
    settings = load(Layout(sandbox.directory, sandbox.base_port).settings("cap"))
    assert [found.what for found in onboarding._first_grant(settings, clock.now())][1:] == [
        "first connection: data were collected"
    ]
    production = settings.model_copy(update={"environment": "production"})
    assert list(onboarding._first_grant(production, clock.now())) == []


def test_settings_that_are_wrong_are_findings(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("party = 'nobody'")
    result = CliRunner().invoke(main, ["onboard", "check", "--config", str(tmp_path / "bad.toml")])
    assert result.exit_code == 1
    assert result.output.startswith("FAIL  settings: ")
