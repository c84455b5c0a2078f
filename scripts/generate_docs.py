"""Write the pages of docs/ that are made from the code, which PAGES names: python -m scripts.generate_docs

A test holds the files to what is generated here, so neither can drift.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import click
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import consent_server
from consent_server.cli import main as main_command
from consent_server.refusal import Refusal
from consent_server.sandbox.client_scenarios.table import DUTIES, EVERYWHERE, HEADER, NORMAL, SCENARIOS, ClientScenario
from consent_server.settings import Settings
from consent_server.settings.values import Network

DOCS = Path(__file__).resolve().parents[1] / "docs"
GENERATED = "<!-- Made by `python -m scripts.generate_docs`; change the code, not this page. -->\n"


def every_module() -> list[str]:
    """Import each module of the package but the sandbox's, the migrations and the command; answers their names."""
    names = [
        found.name
        for found in pkgutil.walk_packages(consent_server.__path__, "consent_server.")
        if not found.name.startswith(("consent_server.sandbox", "consent_server.store.migrations"))
        and not found.name.endswith("__main__")
    ]
    for name in names:
        importlib.import_module(name)
    return names


def refusals() -> list[type[Refusal]]:
    """The whole family by code: those of the package, whatever else (a test, say) has joined it."""
    rooms = {name.split(".")[1] for name in every_module()}
    ours = [refusal for refusal in Refusal.family.values() if _room(refusal) in rooms]
    return sorted(ours, key=lambda refusal: refusal.code)


def _room(refusal: type[Refusal]) -> str | None:
    package, _, rest = refusal.__module__.partition(".")
    return rest.split(".")[0] if package == "consent_server" else None


def errors() -> str:
    """docs/errors.md: one section for each refusal, under the name at the end of `error_uri`."""
    lines = [
        GENERATED,
        "# Errors",
        "",
        "Every refusal of the server has its own code. Programs get it as JSON:",
        "",
        "```json",
        '{"error": "invalid_request", "error_description": "…", "error_uri": "https://…/errors/code_challenge_missing",',
        ' "correlation_id": "…"}',
        "```",
        "",
        "`error` is the value that the specifications define, and `error_description` says what to change. The last part of",
        "`error_uri` is the code below; each public door serves the same help at that URL. With the `correlation_id` an",
        "operator finds the audit line, which has the details that are not sent. A 422 from a data API also has `detail`. At",
        "`/authorize` and in the journey a person gets a page instead, or the client gets a redirect if its redirect_uri was",
        "pushed. A refusal after which a retry makes sense has `Retry-After`.",
        "",
        "| Code | Status | `error` |",
        "|---|---|---|",
    ]
    family = refusals()
    lines += [f"| [`{each.code}`](#{each.code}) | {each.status} | `{each.error}` |" for each in family]
    for each in family:
        headers = "".join(f" · `{name}: {value}`" for name, value in each.headers.items())
        lines += [
            "",
            f"## {each.code}",
            "",
            f"{each.status} `{each.error}`{headers}",
            "",
            f"> {each.public}",
            "",
            each.help,
            "",
            f"Source: {each.clause}.",
        ]
    return "\n".join(lines) + "\n"


def client_scenarios() -> str:
    """docs/client-scenarios.md: what a client's software can be made to meet in the sandbox, and what it should do."""
    lines = [
        GENERATED,
        "# Client scenarios",
        "",
        f"The sandbox can give a client's software {len(SCENARIOS)} refusals and failures on purpose, at the doors of both",
        "providers. There are three ways:",
        "",
        f"- a header on one request: `{HEADER}: token_expired`. On a pushed request the name of a scenario of `/authorize`",
        "  chooses it for that authorization, since a browser's request has no header of the client's.",
        "- for all requests of a client from now on: `POST /sandbox/scenario` with",
        f'  `{{"client": "cap", "scenario": "token_expired"}}`; `{NORMAL}` ends it.',
        "- the page `/sandbox/clients`.",
        "",
        "`GET /sandbox/clients`, a page or JSON, shows the last scenario that each client met, and how its software behaved",
        "afterwards, as far as the doors can see: as expected, not as expected, not known yet, or not visible to the server.",
        "A scenario that is met again after a minute, or chosen again, is judged separately. A scenario that spoils a good",
        "response leaves a refused request unchanged. Refusals in the TLS handshake cannot be chosen: use the manifest's",
        "clients `expired`, `self_signed` and `wrong_ca`. None of this exists outside the sandbox.",
        "",
        "![What a client has met, and how its software behaved](images/client-scenarios.png)",
        "",
        "| What is expected | What the software does |",
        "|---|---|",
        *[f"| {duty} | {meaning} |" for duty, meaning in DUTIES.items()],
        "",
        f"Everywhere is {_paths(EVERYWHERE)}.",
        "",
        "| Scenario | Where | What happens | Expected |",
        "|---|---|---|---|",
    ]
    for name, row in SCENARIOS.items():
        code = next(iter(set(row.refusals.values()))) if len(set(row.refusals.values())) == 1 else ""
        shown = f"[`{name}`](errors.md#{code})" if code else f"`{name}`"
        lines.append(
            f"| {shown} | {'everywhere' if row.at == EVERYWHERE else _paths(row.at)} | {row.about} | {_expected(row)} |"
        )
    return "\n".join(lines) + "\n"


def _paths(at: tuple[str, ...]) -> str:
    return " ".join(f"`{path}`" for path in at)


def _expected(row: ClientScenario) -> str:
    # The advice on a refusal is in errors.md, to which the row links.
    return f"{row.duty}. {row.advice}" if row.advice and not row.refusals else row.duty


def settings() -> str:
    """docs/settings.md: one table for each section of the settings file."""
    lines = [
        GENERATED,
        "# Settings",
        "",
        "Each party has one TOML file. Start from `config/edp.toml`, `config/cap.toml` or `config/sandbox.toml`, which have",
        "the same keys in the same order. File names are relative to the settings file. An environment variable overrides a",
        "key: its name is `CONSENT_` and the key's path in capitals, joined by two underscores (`CONSENT_DATABASE__URL`).",
        "`--set database.url=…` on the command line also overrides a key, and so does `DATABASE_URL`; a list is written as",
        "JSON (`--set 'journey.steps=[\"login\"]'`). A password on a command line is refused, since `ps` shows it to every",
        "user of the machine. The server does not start with an unknown key, a missing key or a bad value; it prints one",
        "line for each, saying what to change.",
        "",
        "| Key | Value | Default | Meaning |",
        "|---|---|---|---|",
    ]
    sections = []
    for name, field in Settings.model_fields.items():
        section = _section(field.annotation)
        if section is None:
            lines.append(_row(name, field))
        else:
            sections.append((name, section))
    for name, section in sections:
        lines += ["", f"## [{name}]", ""]
        doc = section.__dict__.get("__doc__")
        if doc:
            lines += [" ".join(doc.split()), ""]
        lines += ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
        inner = []
        for key, field in section.model_fields.items():
            lines.append(_row(key, field))
            table = _section(field.annotation)
            if table is not None:
                several = get_origin(field.annotation) is tuple
                inner.append((f"[[{name}.{key}]]" if several else f"[{name}.{key}]", table))
        for title, table in inner:
            lines += ["", f"### {title}", "", " ".join((table.__doc__ or "").split()), ""]
            lines += ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
            lines += [_row(key, field) for key, field in table.model_fields.items()]
    return "\n".join(lines) + "\n"


def commands() -> str:
    """docs/commands.md: one row for each command, with what its help says."""
    every = [*_commands("consent-server", main_command)]
    others = [name.removeprefix("consent-server ") for name, command in every if not _takes_settings(command)]
    lines = [
        GENERATED,
        "# Commands",
        "",
        "Every command of `consent-server`; `consent-server COMMAND --help` also explains each option. Each takes",
        "`--config FILE`, the party's settings (`CONSENT_CONFIG` in the environment names it too), and `--set KEY=VALUE`,",
        f"which overrides one of them, except these: `{'`, `'.join(others)}`.",
        "",
        "| Command | Does | Optional |",
        "|---|---|---|",
    ]
    for name, command in every:
        parameters = command.params
        if _takes_settings(command):
            parameters = [each for each in parameters if each.name not in ("config", "overrides")]
        words = " ".join((name, *(_typed(each, command) for each in parameters if each.required)))
        optional = " ".join(f"`{_typed(each, command)}`" for each in parameters if not each.required)
        does = " ".join((command.help or "").replace("\b", "").split())
        lines.append(f"| `{words}` | {does} | {optional} |")
    return "\n".join(lines) + "\n"


def _takes_settings(command: click.Command) -> bool:
    return {"config", "overrides"} <= {each.name for each in command.params}


def _commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for each, inner in command.commands.items():
            yield from _commands(f"{name} {each}", inner)
    else:
        yield name, command


def _typed(parameter: click.Parameter, command: click.Command) -> str:
    value = parameter.make_metavar(click.Context(command)).strip("{}[]").replace(" RANGE", "").replace("|", "\\|")
    if isinstance(parameter, click.Option):
        value = " ".join((*parameter.opts, *parameter.secondary_opts, *([] if parameter.is_flag else [value])))
    return value


def matrix() -> str:
    """docs/security/matrix.md: the states of the rows of docs/refusals.md, now and at each release before."""
    table = (DOCS / "refusals.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## ([A-Z])\. (.*)$", table, re.MULTILINE)
    now = [
        _states(re.findall(rf"^\| {letter}\d\d \|.*\| (held|partly|not yet)[^|]*\|$", table, re.MULTILINE))
        for letter, _ in sections
    ]
    versions = re.findall(r"^## (.*)$", (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    page = DOCS / "security/matrix.md"
    before = {row.split(" | ")[0].strip("| "): row for row in page.read_text(encoding="utf-8").splitlines()}
    lines = [
        GENERATED,
        "# Results of the matrix by version",
        "",
        "The rows of [refusals.md](../refusals.md), each an attack or a fault, by section and state: how many are held, how",
        "many partly, how many not yet. The first line is counted from that page as it stands; a line stays as it is when its",
        "version is released. Sections grow: a row that did not exist was not tried.",
        "",
        "| Version | " + " | ".join(f"{letter}. {title}" for letter, title in sections) + " |",
        "|---" * (len(sections) + 1) + "|",
        f"| {versions[0]} | " + " | ".join(now) + " |",
        *(before[version] for version in versions[1:] if version in before),
    ]
    return "\n".join(lines) + "\n"


def _states(found: list[str]) -> str:
    counts = [(found.count(state), state) for state in ("held", "partly", "not yet")]
    return ", ".join(f"{count} {state}" for count, state in counts if count)


def dotted_keys() -> list[str]:
    """Every dotted key, in the order of the code; tables within sections are named without an index."""
    found = []
    for name, field in Settings.model_fields.items():
        section = _section(field.annotation)
        if section is None:
            found.append(name)
            continue
        for key, inner in section.model_fields.items():
            table = _section(inner.annotation)
            found += [f"{name}.{key}.{deep}" for deep in table.model_fields] if table else [f"{name}.{key}"]
    return found


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation: itself, of a tuple, or beside None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _section(inner)
        if found is not None:
            return found
    return None


def _row(key: str, field: FieldInfo) -> str:
    return f"| `{key}` | {_value(field)} | {_default(field)} | {field.description or ''} |"


def _value(field: FieldInfo) -> str:
    return _kind(field.annotation, field) + _limits(field)


def _kind(annotation: Any, field: FieldInfo | None = None) -> str:
    if annotation == Network:
        return "address or network"
    # The other annotated text is HttpsUrl; pydantic keeps its check in the field's metadata, or in a list's element.
    if get_origin(annotation) is Annotated or (
        annotation is str and field is not None and "https" in repr(field.metadata)
    ):
        return "https URL"
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is dict:
        return "table of text"
    if get_origin(annotation) is tuple:
        return f"list of {_kind(get_args(annotation)[0])}"
    if _section(annotation) is not None:
        return "table"
    if get_origin(annotation) is UnionType and type(None) not in get_args(annotation):
        return " or ".join(_kind(each) for each in get_args(annotation))
    if type(None) in get_args(annotation):
        return _kind(next(each for each in get_args(annotation) if each is not type(None)))
    return {str: "text", SecretStr: "text", int: "whole number", bool: "`true` or `false`", Path: "file"}[annotation]


def _limits(field: FieldInfo) -> str:
    words = {"ge": "at least", "le": "at most"}
    found = [f"{words[name]} {getattr(each, name)}" for each in field.metadata for name in words if hasattr(each, name)]
    return f", {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or field.default in ("", (), {}):
        return "empty"
    if isinstance(field.default, BaseModel):
        return "below"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if isinstance(field.default, tuple):
        return ", ".join(f"`{each}`" for each in field.default)
    return f"`{field.default}`"


#: Name of the page under docs/ -> what makes it.
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "settings": settings,
    "errors": errors,
    "commands": commands,
    "security/matrix": matrix,
    "client-scenarios": client_scenarios,
}


def main() -> None:
    for name, made in PAGES.items():
        (DOCS / f"{name}.md").write_text(made(), encoding="utf-8")


if __name__ == "__main__":
    main()
