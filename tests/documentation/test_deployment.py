"""deploy/: each file by its own validator, and what it says against the program that it starts."""

import re
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from consent_server.cli import main
from tests.conftest import program

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deploy/systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
KUBERNETES = ROOT / "deploy/kubernetes"
#: The oldest version of Kubernetes that its makers still mend, and the newest that the validator knows.
VERSIONS = ("1.33", "1.36")
#: `systemd-analyze security` counts from 0 to 100 what a unit leaves open.
MOST_EXPOSED = 15


@pytest.fixture
def analyze() -> str:
    return program("systemd-analyze", "systemd")


def installed(unit: Path, folder: Path) -> Path:
    """Return a copy of a unit that starts the program of this environment."""
    program = Path(sys.executable).parent / "consent-server"
    copy = folder / unit.name
    copy.write_text(unit.read_text().replace("/opt/consent-server/bin/consent-server", str(program)))
    return copy


def test_systemd_finds_nothing_wrong(analyze: str, tmp_path: Path) -> None:
    copies = [str(installed(unit, tmp_path)) for unit in UNITS]
    found = subprocess.run([analyze, "verify", *copies], capture_output=True, text=True)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_a_unit_is_confined(analyze: str, unit: Path, tmp_path: Path) -> None:
    command = [analyze, "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager"]
    found = subprocess.run([*command, str(installed(unit, tmp_path))], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_home_is_where_a_unit_may_read(unit: Path) -> None:
    """PostgreSQL's client looks for certificates there, and takes a closed /home for an error."""
    text = unit.read_text()
    state = re.search(r"^StateDirectory=(.*)$", text, re.MULTILINE)
    assert state is not None
    assert "ProtectHome=yes" in text
    assert f"Environment=HOME=/var/lib/{state[1]}\n" in text


@pytest.mark.parametrize(
    "unit", [unit for unit in SERVICES if "ExecReload=" in unit.read_text()], ids=lambda it: it.stem
)
def test_a_reload_is_checked_first(unit: Path) -> None:
    """systemd ends at the first command that fails."""
    text = unit.read_text()
    (start,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert re.findall(r"^ExecReload=(.*)$", text, re.MULTILINE) == [f"{start} --check", "/bin/kill -HUP $MAINPID"]


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".socket"], ids=lambda unit: unit.stem)
def test_a_socket_waits_for_no_address(unit: Path) -> None:
    """At boot it is opened before the network is up: without FreeBind= one with an address fails, and its door with it."""
    assert "\nFreeBind=true\n" in unit.read_text()


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_the_journal_drops_no_line_for_their_number(unit: Path) -> None:
    """The door counts the lines that it has to drop; the journal's own limit would drop them where nobody looks."""
    assert "\nLogRateLimitIntervalSec=0\n" in unit.read_text()


def arguments(command: str) -> list[str]:
    return command.removeprefix("/opt/consent-server/bin/consent-server").split()


def party(service: dict[str, Any]) -> bool:
    return str(service["image"]).startswith("consent-server")


def composed() -> dict[str, Any]:
    """deploy/compose/compose.yaml, each variable by its default or a path."""
    text = (ROOT / "deploy/compose/compose.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(
        re.sub(r"(?<!\$)\$\{\w+(?::-([^}]*)|:\?[^}]*)?\}", lambda it: it[1] or "/srv", text).replace(
            "consent-server:/srv", "consent-server:1"
        )
    )
    return found


def resources() -> list[dict[str, Any]]:
    """What deploy/kubernetes/kustomization.yaml names."""
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert set(listed) == {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    return [document for name in listed for document in yaml.safe_load_all((KUBERNETES / name).read_text())]


def pods() -> list[dict[str, Any]]:
    return [each["spec"]["template"]["spec"] for each in resources() if "template" in each.get("spec", {})]


def started() -> list[tuple[str, list[str]]]:
    units = [re.search(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE) for unit in SERVICES]
    services = composed()["services"].items()
    return [
        *[(unit.name, arguments(line[1])) for unit, line in zip(SERVICES, units, strict=True) if line],
        *[(name, service["command"]) for name, service in services if party(service)],
        *[(container["name"], container["args"]) for pod in pods() for container in pod["containers"]],
    ]


@pytest.mark.parametrize(("name", "command"), started())
def test_what_is_started_is_a_command_of_ours(
    name: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0, capsys.readouterr().err


def test_every_way_starts_both_doors_and_the_jobs() -> None:
    ways = {"systemd": SERVICES, "compose": composed()["services"], "kubernetes": pods()}
    commands = [" ".join(command) for _, command in started()]
    for command in ("serve --door public", "serve --door mutual_tls", "work"):
        assert commands.count(command) >= len(ways), command


def test_the_compose_file_is_one() -> None:
    PyCompose.from_yaml(yaml.safe_dump(composed())).validate()


def test_what_compose_starts_is_confined() -> None:
    for name, service in composed()["services"].items():
        if party(service) or name == "nginx":
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    inside = composed()["networks"]["inside"]
    assert inside["internal"], "whoever reaches a door behind a proxy can name any certificate"


def test_the_owner_of_the_tables_migrates_and_serves_nothing() -> None:
    for name, service in composed()["services"].items():
        if party(service):
            assert service["env_file"] == ["owner.env" if name == "migrate" else "server.env"], name
    for container in (container for pod in pods() for container in pod["containers"]):
        (url,) = (each["valueFrom"]["secretKeyRef"]["key"] for each in container["env"])
        assert url == ("owner-url" if container["name"] == "migrate" else "url"), container["name"]


def test_the_proxy_of_compose_asks_both_nodes(tmp_path: Path) -> None:
    """The command of deploy/compose/README.md, on config/nginx.conf."""
    text = (ROOT / "deploy/compose/README.md").read_text()
    command = re.search(r"^ +(sed -e .*?)> nginx.conf$", text, re.MULTILINE | re.DOTALL)
    assert command is not None
    made = subprocess.run(
        ["sh", "-c", command[1]], cwd=ROOT / "deploy/compose", capture_output=True, text=True, check=True
    )
    asked = re.findall(r"(?<!#) server ([a-z-]+-[12]):(\d+) ", made.stdout)
    assert asked == [
        (f"{door}-{node}", port) for door, port in (("public", "8443"), ("mutual-tls", "8444")) for node in "12"
    ]
    services = composed()["services"]
    assert {name for name, _ in asked} <= services.keys()
    assert services["nginx"]["networks"]["inside"]["ipv4_address"] in text, "clients.proxies"


def test_the_proxy_of_compose_reads_the_keys_and_finds_the_doors() -> None:
    services, (inside,) = composed()["services"], composed()["networks"]["inside"]["ipam"]["config"]
    user = re.findall(r"^USER (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user == [services["nginx"]["user"]], "whose the keys are, and readable by nobody else"
    doors = {name: each for name, each in services.items() if each.get("command", [""])[0] == "serve"}
    fixed = {service["networks"]["inside"]["ipv4_address"] for service in doors.values()}
    assert len(fixed) == len(doors) == 4, "nginx looks the names up once"
    assert not [each for each in fixed if ip_address(each) in ip_network(inside["ip_range"])]


def test_the_image_has_the_folders_of_its_volumes() -> None:
    """A new volume has the owner of the folder of the image; without one it is root's."""
    made = re.findall(r"install -d -o consent -g consent -m 700 (\S+)", (ROOT / "Dockerfile").read_text())
    volumes = {v for each in composed()["services"].values() if party(each) for v in each["volumes"]}
    assert made == [path for name, path in (each.split(":")[:2] for each in sorted(volumes)) if name.isalpha()]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version: str) -> None:
    for document in resources():
        kubernetes_validate.validate(document, version, strict=True)


def test_pods_are_confined_and_their_network_is_refused_by_default() -> None:
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {mount["name"] for mount in container["volumeMounts"]} >= {
                volume["name"] for volume in pod["volumes"]
            }
    policies = [each["spec"] for each in resources() if each["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    budgets = {each["metadata"]["name"] for each in resources() if each["kind"] == "PodDisruptionBudget"}
    assert budgets == {each["metadata"]["name"] for each in resources() if each["kind"] == "StatefulSet"}
