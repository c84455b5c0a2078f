"""Settings, refusals and configuration files: each described once, and held to what the code is."""

import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from consent_server.refusal import Refusal
from consent_server.settings import load
from scripts import generate_docs

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ["edp.toml", "cap.toml", "sandbox.toml"]

# RFC 6749 section 5.2: error_description is ASCII without the quotation mark and the backslash.
WIRE_SAFE = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")


@pytest.mark.parametrize("page", ["settings", "errors", "security/matrix"])
def test_a_generated_page_is_what_the_code_makes(page: str) -> None:
    written = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert written == getattr(generate_docs, page.rpartition("/")[2])(), "run: python -m scripts.generate_docs"


def test_every_setting_and_every_refusal_has_its_place() -> None:
    settings = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    errors = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert all(f"`{key.split('.')[-1]}`" in settings for key in generate_docs.dotted_keys())
    assert len(generate_docs.refusals()) > 80
    assert all(f"\n## {refusal.code}\n" in errors for refusal in generate_docs.refusals())


@pytest.mark.parametrize("refusal", generate_docs.refusals(), ids=lambda refusal: refusal.code)
def test_a_refusal_says_what_to_do_in_words_that_may_travel(refusal: type[Refusal]) -> None:
    assert WIRE_SAFE.fullmatch(refusal.public)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", refusal.code)
    assert re.fullmatch(r"[a-z_]+", refusal.error)
    assert refusal.public.endswith(".")
    assert refusal.help.endswith(".")
    if (refusal.status, refusal.error) == (503, "temporarily_unavailable"):
        assert "Retry-After" in refusal.headers
    if refusal.error in {"invalid_token", "insufficient_scope"}:
        assert refusal.headers["WWW-Authenticate"] == f'Bearer error="{refusal.error}"'


def keys_in_order(document: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys as they stand in the file; entries of an array of tables count once."""
    found = []
    for key, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            assert len({tuple(entry) for entry in value}) == 1, f"entries of {prefix}{key} have different keys"
            value = value[0]
        if isinstance(value, dict) and value:
            found += keys_in_order(value, f"{prefix}{key}.")
        else:
            found.append(prefix + key)
    return found


def document(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "config" / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CONFIG)
def test_a_settings_file_holds_every_setting(name: str) -> None:
    assert sorted(keys_in_order(document(name))) == sorted(generate_docs.dotted_keys())


@pytest.mark.parametrize(("one", "other"), list(itertools.pairwise(CONFIG)))
def test_settings_files_have_the_same_keys_in_the_same_order(one: str, other: str) -> None:
    assert keys_in_order(document(one)) == keys_in_order(document(other))


@pytest.mark.parametrize("name", CONFIG)
def test_a_settings_file_loads_and_names_its_own_environment_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    settings = load(ROOT / "config" / name)
    text = (ROOT / "config" / name).read_text(encoding="utf-8")
    other = "core.trust.ib1.org" if settings.is_sandbox else "core.sandbox.trust.ib1.org"
    assert other not in text
    assert settings.environment == ("sandbox" if name == "sandbox.toml" else "production")


@pytest.mark.parametrize("name", CONFIG)
def test_a_file_to_start_from_grants_nothing_before_its_texts_are_pinned(name: str) -> None:
    settings = load(ROOT / "config" / name)
    assert {license_.text_sha256 for license_ in settings.scheme.licenses} == {"0" * 64}


def test_the_files_that_a_settings_file_names_belong_together() -> None:
    for name in CONFIG:
        settings = load(ROOT / "config" / name)
        assert settings.clients.root.parent == ROOT / "config" / "certificates"
        assert settings.keys.tokens.parent == ROOT / "config" / "keys"


@pytest.mark.parametrize("party", ["edp", "cap"])
def test_a_door_has_the_help_page_of_every_error(party: str) -> None:
    """Their routes are made when the door is: in a process that has imported what a door imports, and no more."""
    shown = f"import consent_server.parties.{party}; from consent_server.refusal import Refusal; print(*Refusal.family)"
    known = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert set(known.split()) == set(re.findall(r"^## (\w+)$", (ROOT / "docs/errors.md").read_text("utf-8"), re.M))
