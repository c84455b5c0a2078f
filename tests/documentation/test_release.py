"""A release is made twice to the same bytes, signed with a key of this test, and verified as docs/security/releases.md says."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts import release, sbom

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/security/releases.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\w*\n(.*?)```", PAGE, re.DOTALL)

pytestmark = pytest.mark.xdist_group("release")


def repository(folder: Path) -> Path:
    """A commit of some of what a release is made from: one room stands for all."""
    for name in ("consent_server/scheme", "templates", "config", "requirements"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("consent_server/__init__.py", "pyproject.toml", "README.md", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    settings = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "core.autocrlf=false"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all", "--date=2026-03-12T09:30:00Z"]):
        environment = os.environ | {"GIT_COMMITTER_DATE": "2026-03-12T09:30:00Z"}
        subprocess.run(["git", "-C", str(folder), *settings, *command], check=True, env=environment)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed release, and the file of its signers beside it."""
    folder = tmp_path_factory.mktemp("release")
    release.release(folder / "files", root=repository(folder / "sources"))
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
    release.sign(folder / "files", key)
    (line,) = [block for block in BLOCKS if block.startswith("releases ")]
    public = key.with_suffix(".pub").read_text().strip()
    (folder / "signers").write_text(line.replace("ssh-ed25519 AAAA…", public))
    return folder


def verified(made: Path, tmp_path: Path) -> tuple[int, str]:
    """What the page's commands say of a copy of the release."""
    (commands,) = [block for block in BLOCKS if "-Y verify" in block]
    shutil.copy(made / "signers", tmp_path / "signers")
    ran = subprocess.run(["sh", "-c", commands], cwd=tmp_path, capture_output=True, text=True)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "files", tmp_path / "copy")


def test_a_release_is_made_again_to_the_same_bytes(made: Path, tmp_path: Path) -> None:
    """Under another mask, and with a file beside it that is not committed."""
    (made / "sources/consent_server/stray.py").write_text("")
    before = os.umask(0o077)
    try:
        release.release(tmp_path / "again", root=made / "sources")
    finally:
        os.umask(before)
    files = {path.name: path.read_bytes() for path in (made / "files").iterdir()}
    assert files.pop("SHA256SUMS.sig").startswith(b"-----BEGIN SSH SIGNATURE-----")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files
    with pytest.raises(FileExistsError):
        release.release(tmp_path / "again", root=made / "sources")


def test_it_is_verified_as_the_page_says(made: Path, copy: Path) -> None:
    code, said = verified(made, copy)
    assert code == 0, said
    named = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
    version = next(copy.glob("*.whl")).name.split("-")[1]
    assert {name.replace("VERSION", version) for name in named} == {path.name for path in copy.iterdir()} - {"signers"}


@pytest.mark.parametrize("file", ["*.whl", "*.tar.gz", "*.cdx.json", "*.intoto.json", "SHA256SUMS"])
def test_a_changed_file_is_found(file: str, made: Path, copy: Path) -> None:
    (path,) = copy.glob(file)
    path.write_bytes(path.read_bytes() + b"\n")
    assert verified(made, copy)[0] != 0


def test_another_key_and_another_purpose_are_no_signature(made: Path, copy: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    for key, namespace in ((tmp_path / "other", release.NAMESPACE), (made / "key", "file")):
        (copy / "SHA256SUMS.sig").unlink()
        command = ["ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", str(key), str(copy / "SHA256SUMS")]
        subprocess.run(command, check=True)
        assert verified(made, copy)[0] != 0


def test_provenance_is_of_these_files_and_this_commit(made: Path) -> None:
    (file,) = (made / "files").glob("*.intoto.json")
    statement: dict[str, Any] = json.loads(file.read_text())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    digests = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    built = [path for path in (made / "files").iterdir() if path.name in digests]
    assert len(built) == 3
    assert digests == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built}
    head = subprocess.run(["git", "-C", str(made / "sources"), "rev-parse", "HEAD"], capture_output=True, text=True)
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {"commit": head.stdout.strip()}
    assert {each["name"] for each in definition["resolvedDependencies"]} == {"sources", *release.LOCKS}


def test_the_bill_of_materials_is_the_lock_file() -> None:
    document = sbom.document(ROOT)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    lock = (ROOT / "requirements/production.lock").read_text(encoding="utf-8")
    locked = re.findall(r"^(\S+)==(\S+) \\$", lock, re.MULTILINE)
    assert [(each["name"], each["version"]) for each in document["components"]] == locked
    digests = [found["content"] for each in document["components"] for found in each["externalReferences"][0]["hashes"]]
    assert digests == re.findall("sha256:([0-9a-f]{64})", lock)
    needs = {each["ref"].split("/")[1].split("@")[0]: each["dependsOn"] for each in document["dependencies"]}
    reached, ahead = set(), ["consent-server"]
    while ahead:
        name = ahead.pop()
        reached.add(name)
        ahead += [other for each in needs[name] if (other := each.split("/")[1].split("@")[0]) not in reached]
    assert reached == needs.keys(), "each package is needed by something"
