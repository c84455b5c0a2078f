"""The files of a release: python -m scripts.release FOLDER [--key KEY] [--commit COMMIT]

Wheel, sources, what they are installed from (scripts/sbom.py), provenance (in-toto statement, SLSA 1.0), the digests of all
four, and with a key the signature over the digests. The same commit gives the same bytes. docs/security/releases.md says how a
reader verifies them.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts import sbom

ROOT = Path(__file__).resolve().parents[1]
#: What a signature is for (ssh-keygen(1), -n): one for another purpose is none of a release.
NAMESPACE = "consent-server-release"
SUMS = "SHA256SUMS"
LOCKS = ("requirements/production.lock", "requirements/dev.lock")


def release(folder: Path, commit: str = "HEAD", root: Path = ROOT) -> None:
    """Write the files of a commit to an empty folder. Raise FileExistsError when it is not empty."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: its files would be named as part of the release")
    commit = _git(root, "rev-parse", "--verify", f"{commit}^{{commit}}").decode().strip()
    epoch = _git(root, "show", "--no-patch", "--format=%ct", commit).decode().strip()
    with tempfile.TemporaryDirectory() as there:
        sources = Path(there)
        archive = _git(root, "-c", "tar.umask=0022", "archive", "--format=tar", commit)
        subprocess.run(["tar", "--extract", "--directory", there], input=archive, check=True)
        build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder.resolve())]
        environment = os.environ | {"SOURCE_DATE_EPOCH": epoch}
        subprocess.run(build, cwd=sources, env=environment, check=True, capture_output=True)
        (wheel,) = folder.glob("*.whl")
        named = "-".join(wheel.name.split("-")[:2])
        sbom.write(sources, folder / f"{named}.cdx.json")
        built = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
        locks = {name: _sha256(sources / name) for name in LOCKS}
    text = json.dumps(provenance(built, commit, epoch, locks), indent=1) + "\n"
    (folder / f"{named}.intoto.json").write_text(text, encoding="utf-8")
    sums = [f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(sums), encoding="utf-8")


def sign(folder: Path, key: Path) -> None:
    """Write SHA256SUMS.sig. `key` is a private key of ssh-keygen's, or the public half of one that an agent holds."""
    subprocess.run(["ssh-keygen", "-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), str(folder / SUMS)], check=True)


def provenance(built: dict[str, str], commit: str, epoch: str, locks: dict[str, str]) -> dict[str, Any]:
    """Return the statement about files, by name and digest. It has no time but the commit's, and so does not vary."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in built.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:consent-server:scripts.release:1",
                "externalParameters": {"commit": commit},
                "internalParameters": {
                    "SOURCE_DATE_EPOCH": epoch,
                    "python": platform.python_version(),
                    "hatchling": importlib.metadata.version("hatchling"),
                },
                "resolvedDependencies": [
                    {"name": "sources", "digest": {"gitCommit": commit}},
                    *({"name": name, "digest": {"sha256": digest}} for name, digest in locks.items()),
                ],
            },
            "runDetails": {"builder": {"id": "urn:consent-server:holder-of-the-release-key"}},
        },
    }


def _git(root: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True).stdout


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--commit", default="HEAD")
    given = parser.parse_args()
    try:
        release(given.folder, given.commit)
    except FileExistsError as error:
        parser.error(str(error))
    if given.key:
        sign(given.folder, given.key)
    print("".join(f"{path.name}\n" for path in sorted(given.folder.iterdir())), end="")


if __name__ == "__main__":
    main()
