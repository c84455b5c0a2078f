"""`consent-server audit verify`, `checkpoints` and `export`; the bundle is checked by the program that docs/audit.md shows."""

import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from consent_server import audit, clock, create_app, store
from consent_server.jobs import audit_trail
from consent_server.sandbox.layout import Layout
from consent_server.scheme.instant import DAY
from consent_server.settings import load
from consent_server.store import audit_events, evidence, permissions
from consent_server.store.tables.permissions import Evidence, Permission

ROOT = Path(__file__).resolve().parents[2]
TEXT = "<p>Electricity and gas</p>"
BUSINESS = "Hearth & Crumb Bakery Ltd"


def keep(c: Any, event: str, **fields: Any) -> None:
    audit_events.keep(c, audit.event(event, client_id="https://directory.example/a/app", **fields))


def granted(c: Any, name: str) -> None:
    at = clock.now()
    who: Any = {"business": BUSINESS, "name": "", "capacity": "", "method": "bill", "strength": "knowledge"}
    meters: Any = [{"id": "m", "fuel": "electricity", "masked": "… 1234", "outcode": "SW8"}]
    license_, member = "https://registry.example/license/l", "https://directory.example/m/member"
    permission = Permission(
        name, f"account-{name}", "client", member, license_, ["electricity"], "0" * 64, "sme", meters, [],
        at, at + DAY, f"refresh-{name}", 1,
    )  # fmt: skip
    permissions.add(c, permission)
    shown = {"client": "A CAP", "host": "An EDP", "license": "Energy"}
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    seen = Evidence(f"e-{name}", name, at, license_, TEXT, digest, "0" * 64, "client", shown, who, meters, "", "", "-")
    evidence.add(c, seen)
    keep(c, "permission_granted", journey="j", permission=name, license=license_, text_sha256="0" * 64)


@pytest.fixture
def trail(deployment: Path, prepared: Layout, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two days of a trail with two permissions, a checkpoint after each day, and one event after both."""
    shutil.copy(prepared.party("edp") / "keys/customers_secret", deployment.parent / "keys")
    app = create_app(load(deployment), "mutual_tls")
    now = clock.now()
    with app.app_context():
        for day, name in enumerate(["first", "second"]):
            monkeypatch.setattr(clock, "now", lambda at=now + day * DAY: at)
            with store.writing() as c:
                granted(c, name)
                keep(c, "code_replayed", permission="another")
            audit_trail.seal()
        with store.writing() as c:
            keep(c, "permission_withdrawn", permission="second", by="sme", where="x", why="y")
        audit_trail.seal()
    return deployment


def test_a_trail_holds_also_against_what_a_partner_kept(
    trail: Path, command: Callable[..., Result], tmp_path: Path
) -> None:
    signed = command("audit", "checkpoints", "--config", trail).output.splitlines()
    assert len(signed) == 2
    kept = tmp_path / "kept.json"
    kept.write_text(signed[0])
    result = command("audit", "verify", "--config", trail, "--checkpoint", kept)
    assert (result.exit_code, result.output) == (0, "5 events hold, against 2 signed checkpoints.\n")


def test_the_end_of_a_trail_is_signed_at_once(trail: Path, command: Callable[..., Result]) -> None:
    for _ in range(2):  # the second time nothing is left to sign
        assert command("audit", "seal", "--config", trail).stdout == "Signed: the chain until position 5.\n"
    verified = command("audit", "verify", "--config", trail)
    assert verified.output == "5 events hold, against 3 signed checkpoints.\n"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE audit_event SET fields = '{}' WHERE position = 2", "position 2: changed"),
        ("DELETE FROM audit_event WHERE position = 5", "5 events"),
        (
            "DELETE FROM audit_checkpoint WHERE position = 4; DELETE FROM audit_event WHERE position > 3",
            "position 4: missing",
        ),
        (
            "UPDATE audit_checkpoint SET signed = replace(signed, 'signature\": \"', 'signature\": \"AAAA')",
            "checkpoint",
        ),
        (
            "UPDATE audit_event SET position = NULL WHERE position = 5; UPDATE audit_event SET at = at - 900",
            "not sealed",
        ),
    ],
)
def test_what_was_tampered_with_is_named(
    trail: Path, command: Callable[..., Result], tmp_path: Path, statement: str, said: str
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(command("audit", "checkpoints", "--config", trail).output.splitlines()[-1])
    other = sqlite3.connect(trail.parent / "store.db")
    other.executescript(
        f"DROP TRIGGER audit_event_is_not_changed; DROP TRIGGER audit_event_is_not_deleted; {statement}"
    )
    other.close()
    result = command("audit", "verify", "--config", trail, "--checkpoint", kept)
    if said == "5 events":  # nothing was signed after it: what docs/audit.md says that it cannot find
        assert result.exit_code == 0
    else:
        assert result.exit_code == 1
        assert said in result.output


def checked(bundle: Path, root: Path) -> subprocess.CompletedProcess[str]:
    """Run the program of docs/audit.md."""
    program = re.search(r"```python\n(.*?)```", (ROOT / "docs/audit.md").read_text(), re.DOTALL)
    assert program is not None
    assert len(program[1].splitlines()) < 100
    return subprocess.run([sys.executable, "-c", program[1], str(bundle), str(root)], capture_output=True, text=True)


def test_an_auditor_checks_a_bundle_without_us(
    trail: Path, command: Callable[..., Result], prepared: Layout, tmp_path: Path
) -> None:
    root = load(trail).keys.signing_root
    bundle = tmp_path / "bundle.zip"
    result = command("audit", "export", "--config", trail, "--business", BUSINESS, "--out", bundle)
    assert result.output.endswith("3 events\n"), result.output
    found = checked(bundle, root)
    assert found.returncode == 0, found.stderr
    assert "positions 5 to 5: in the chain, and not signed yet" in found.stdout
    assert found.stdout.endswith("3 events hold\n")
    result = command("audit", "export", "--config", trail, "--all", "--out", tmp_path / "all.zip")
    assert result.exit_code == 0, result.output
    with zipfile.ZipFile(bundle) as archive, zipfile.ZipFile(tmp_path / "all.zip") as whole:
        assert set(archive.namelist()) <= set(whole.namelist())
        documents = {name: json.loads(archive.read(name)) for name in archive.namelist()}
    assert {name.partition("/")[2] for name in documents if "/" in name} == {
        "record.json",
        "evidence.json",
        "consent.json",
    }

    spoilt = {
        "an event": lambda: documents["bundle.json"]["events"][0]["fields"].update(license="another"),
        "a digest": lambda: documents["bundle.json"]["stretches"][0]["contents"].reverse(),
        "a beginning": lambda: documents["bundle.json"]["stretches"][1].update(checkpoint_before=None),
        "a text": lambda: documents["first/evidence.json"].update(text_shown="Another"),
    }
    for what, spoil in spoilt.items():
        before = json.dumps(documents)
        spoil()
        with zipfile.ZipFile(tmp_path / "spoilt.zip", "w") as archive:
            for name, document in documents.items():
                archive.writestr(name, json.dumps(document))
        assert checked(tmp_path / "spoilt.zip", root).returncode != 0, what
        documents = json.loads(before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name --permission"),
        (["--permission", "first", "--business", "x"], "name --permission"),
        (["--permission", "first", "--all"], "name --permission"),
        (["--permission", "unknown"], "there is no permission or connection unknown"),
        (["--business", "Nobody Ltd"], "no evidence names a business"),
    ],
)
def test_a_bundle_of_nothing_is_refused(
    trail: Path, command: Callable[..., Result], tmp_path: Path, arguments: list[str], said: str
) -> None:
    result = command("audit", "export", "--config", trail, "--out", tmp_path / "b.zip", *arguments)
    assert result.exit_code != 0
    assert said in result.output
    assert not (tmp_path / "b.zip").exists()


@pytest.mark.parametrize("named", ["missing", "no certificate"])
def test_a_root_that_cannot_be_used_is_one_sentence(
    trail: Path, command: Callable[..., Result], tmp_path: Path, named: str
) -> None:
    root = load(trail).keys.signing_root
    if named == "missing":
        text = trail.read_text().replace(str(root), str(tmp_path / "root.pem"))
    else:
        (tmp_path / "root.pem").write_text("nothing")
        text = trail.read_text().replace(str(root), str(tmp_path / "root.pem"))
    trail.write_text(text)
    result = command("audit", "verify", "--config", trail)
    assert result.exit_code == 1
    assert "root.pem" in result.output


def test_a_certificate_of_ours_that_is_not_there_is_one_sentence(
    trail: Path, command: Callable[..., Result], tmp_path: Path
) -> None:
    certificate = load(trail).keys.client_certificate
    assert certificate is not None
    trail.write_text(trail.read_text().replace(str(certificate), str(tmp_path / "client.pem")))
    for arguments in (
        ["audit", "export", "--all", "--out", tmp_path / "b.zip"],
        ["subject", "find", "--business", "x"],
    ):
        result = command(*arguments, "--config", trail)
        assert result.exit_code == 1
        assert "client.pem" in result.output


def test_an_archive_is_not_written_where_there_is_no_folder(
    trail: Path, command: Callable[..., Result], tmp_path: Path
) -> None:
    result = command("audit", "export", "--config", trail, "--all", "--out", tmp_path / "no" / "b.zip")
    assert result.exit_code == 2
    assert "is no folder" in result.output


def test_a_command_of_the_server_names_what_the_guard_alone_lacks(
    command: Callable[..., Result], deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.delitem(sys.modules, "consent_server.store.database", raising=False)
    monkeypatch.delitem(sys.modules, "consent_server.store", raising=False)
    result = command("permissions", "list", "--config", deployment)
    assert result.exit_code == 1
    assert "pip install 'consent-server[server]'" in result.output
