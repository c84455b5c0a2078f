"""Bring the Welsh catalogue up to date with the code: `python -m scripts.messages`.

New messages are added without a translation, those that are gone are removed, and the catalogue is compiled. Both files are
committed: an installation, from a wheel or a checkout, then needs no step of its own. With --check nothing is written, and
the command fails when either file is not what the code and the catalogue give.
"""

import importlib
import io
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages import pofile
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_file
from babel.messages.mofile import read_mo, write_mo

import consent_server
from consent_server.refusal import Refusal
from consent_server.web.language import TRANSLATIONS, WELSH

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = TRANSLATIONS / WELSH / "LC_MESSAGES" / "messages.po"
COMPILED = CATALOGUE.with_suffix(".mo")
KEYWORDS = {"_": None, "gettext": None, "N_": None, "ngettext": (1, 2), "MeterNumberError": None}
#: Rooms and modules whose refusals no browser meets, since they stand at the mutual-TLS door or in a data API. Those responses
#: are in English, as are the developers' help pages.
FOR_PROGRAMS = (
    *("caller", "tokens", "resource", "status"),
    *("issuer.client_authentication", "issuer.code", "issuer.introspection", "issuer.par", "issuer.permission_record"),
    *("issuer.refresh", "issuer.views"),
)


def extracted() -> Catalog:
    """Return every message of templates, modules and refusals, with the files in which each is.

    None of the sandbox: it plays other parties, for developers, and is in English alone.
    """
    found = Catalog(locale=WELSH)
    for path, message in _messages():
        found.add(message, locations=[(path, 0)])
    return found


def _messages() -> Iterator[tuple[str, str | tuple[str, ...]]]:
    for method, folder, ending in (
        ("jinja2.ext:babel_extract", "templates", "html"),
        ("python", "consent_server", "py"),
    ):
        for path in sorted((ROOT / folder).rglob(f"*.{ending}")):
            name = str(path.relative_to(ROOT))
            if "sandbox" in path.parts:
                continue
            options = {"trimmed": "false", "silent": "false"}
            for _, message, _, _ in extract_from_file(method, path, KEYWORDS, options=options):
                yield name, message
    for module in pkgutil.walk_packages(consent_server.__path__, "consent_server."):
        if not {"sandbox", "versions", "__main__"} & set(module.name.split(".")):
            importlib.import_module(module.name)
    for refusal in Refusal.family.values():
        package, _, inside = refusal.__module__.partition(".")  # a test may have made some too
        if package == "consent_server" and not any(f"{inside}.".startswith(f"{each}.") for each in FOR_PROGRAMS):
            yield f"{refusal.__module__.replace('.', '/')}.py", refusal.public


def updated() -> bytes:
    """Return the catalogue with the messages of the code."""
    catalogue = kept()
    catalogue.update(extracted(), no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    return _written(catalogue)


def kept() -> Catalog:
    """Return the catalogue as it is kept."""
    return pofile.read_po(io.BytesIO(CATALOGUE.read_bytes()), locale=WELSH)


def has_welsh(message: Message) -> bool:
    """Return whether every form of a message is translated."""
    return all(message.string or [""])


def compiled(catalogue: bytes) -> bytes:
    """Return the file that the server reads, of the text of a catalogue."""
    out = io.BytesIO()
    write_mo(out, pofile.read_po(io.BytesIO(catalogue), locale=WELSH))
    return out.getvalue()


def _written(catalogue: Catalog) -> bytes:
    out = io.BytesIO()
    # The head as it is, since Babel would date it; no numbers of lines, so that a change elsewhere in a file changes nothing.
    head, _, _ = CATALOGUE.read_bytes().partition(b"\n\n")
    pofile.write_po(out, catalogue, width=120, sort_by_file=True, include_lineno=False, omit_header=True)
    return head.rstrip() + b"\n\n" + out.getvalue().rstrip() + b"\n"


def stale() -> dict[Path, bytes]:
    """Return the files that are not up to date, with what they should be."""
    text = updated()
    made = compiled(text)
    wanted = {CATALOGUE: text} if CATALOGUE.read_bytes() != text else {}
    if not COMPILED.exists() or _read(COMPILED.read_bytes()) != _read(made):  # not by its bytes: Babel dates the head
        wanted[COMPILED] = made
    return wanted


def _read(compiled_: bytes) -> tuple[str, dict[object, object]]:
    read = read_mo(io.BytesIO(compiled_))
    return read.plural_forms, {str(message.id): message.string for message in read if message.id}


def main() -> int:
    found = stale()
    if "--check" in sys.argv[1:]:
        for path in found:
            sys.stderr.write(f"{path.relative_to(ROOT)} is not up to date: run python -m scripts.messages\n")
        return 1 if found else 0
    for path, content in found.items():
        path.write_bytes(content)
    lacking = [message.id for message in kept() if message.id and not has_welsh(message)]
    sys.stdout.write(f"{len(kept())} messages, {len(lacking)} without Welsh\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
