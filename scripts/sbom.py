"""What a server is installed from, as a CycloneDX 1.6 document: python -m scripts.sbom FILE

Read from requirements/production.lock: each package with its version, the digests of which pip takes one, and what needs it.
"""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(.*?)(?=^[A-Za-z0-9]|\Z)", re.MULTILINE | re.DOTALL)
_NEEDED_BY = re.compile(r"^    # +(?:via +)?(\S+)(?: \(\S+\))?$", re.MULTILINE)


def document(root: Path) -> dict[str, Any]:
    """Return the document of the sources at `root`. It has no time and no number of its own, so that it does not vary."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = _reference(project["name"], project["version"])
    references = {project["name"]: own}
    needs: dict[str, set[str]] = {}
    components = []
    for name, version, rest in _ENTRY.findall((root / "requirements/production.lock").read_text(encoding="utf-8")):
        references[name] = _reference(name, version)
        components.append(_component(name, version, re.findall("--hash=sha256:([0-9a-f]{64})", rest)))
        for other in _NEEDED_BY.findall(rest):
            if other != "via":  # stands alone above several
                needs.setdefault(other, set()).add(name)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": own, "purl": own}
            | {key: project[key] for key in ("name", "version", "description")}
        },
        "components": components,
        "dependencies": [
            {"ref": reference, "dependsOn": sorted(references[each] for each in needs.get(name, ()))}
            for name, reference in references.items()
        ],
    }


def write(root: Path, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document(root), indent=1) + "\n", encoding="utf-8")


def _reference(name: str, version: str) -> str:
    """The package URL."""
    return f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"


def _component(name: str, version: str, digests: list[str]) -> dict[str, Any]:
    """A package. Its files differ by platform, so their digests belong to its distribution and not to itself."""
    reference = _reference(name, version)
    files = {
        "type": "distribution",
        "url": reference,
        "hashes": [{"alg": "SHA-256", "content": each} for each in digests],
    }
    return {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
        "externalReferences": [files],
    }


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[1], Path(sys.argv[1]))
