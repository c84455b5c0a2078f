"""Every example and every command of the documentation, looked at by its kind."""

import csv
import importlib.util
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import BaseModel, ValidationError

from consent_server.bank.settings import BankSettings
from consent_server.cli import main
from consent_server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT) for pages in ("*.md", "docs/**/*.md", "deploy/**/*.md") for path in ROOT.glob(pages)
)
COMMENTED = sorted(path.relative_to(ROOT) for path in ROOT.glob("config/*.toml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
#: A page whose TOML is not a party's settings.
OTHER_SETTINGS: dict[str, type[BaseModel]] = {"docs/bank.md": BankSettings}
COMMAND = re.compile(
    r"(?:\$ )?(?:\w+=\S* )*(?:docker compose exec \S+ )?(?:[\w./]+/)?((?:consent-server|make|python3? -m) .*)"
)


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str


def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text(encoding="utf-8"))


def blocks(page: Path) -> Iterator[Block]:
    for token in tokens(page):
        if token.type in ("fence", "code_block"):
            yield Block(str(page), (token.map or [0])[0] + 1, token.info, token.content)


BLOCKS = [block for page in PAGES for block in blocks(page)]


def of(*languages: str) -> list[object]:
    return [pytest.param(each, id=f"{each.page}:{each.line}") for each in BLOCKS if each.language in languages]


def test_every_block_is_of_a_kind_that_is_looked_at() -> None:
    kinds = {"", "sh", "console", "toml", "json", "python", "csv", "http", "{toctree}", "sql"}
    assert [block[:3] for block in BLOCKS if block.language not in kinds] == []


@pytest.mark.parametrize("block", of("toml"))
def test_a_block_of_toml_holds_known_settings(block: Block) -> None:
    """What a page leaves out may be missing; what it has is known, and of its kind."""
    assert [each for each in faults_of(block) if each["type"] != "missing"] == []


def faults_of(block: Block) -> list[Any]:
    try:
        OTHER_SETTINGS.get(block.page, Settings).model_validate(tomllib.loads(block.text))
    except ValidationError as error:
        return list(error.errors(include_url=False))
    return []


@pytest.mark.parametrize("block", of("json"))
def test_a_block_of_json_parses(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", of("python"))
def test_a_block_of_python_compiles(block: Block) -> None:
    compile(block.text, block.page, "exec")


@pytest.mark.parametrize("block", of("csv"))
def test_the_rows_of_a_block_of_csv_are_equally_long(block: Block) -> None:
    assert len({len(row) for row in csv.reader(block.text.splitlines())}) == 1


@pytest.mark.parametrize("block", of("sh"))
def test_a_block_of_sh_parses(block: Block) -> None:
    read = subprocess.run(["sh", "-n"], input=block.text, capture_output=True, text=True)
    assert read.stderr == ""


class Typed(NamedTuple):
    where: str
    words: list[str]
    whole: bool
    """Whether it can be typed as it stands: in prose a command is named without what it cannot do without."""


def typed() -> Iterator[Typed]:
    for block in BLOCKS:
        lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
        for command in filter(None, (COMMAND.fullmatch(line.strip()) for line in lines)):
            yield Typed(f"{block.page}:{block.line}", shlex.split(command[1], comments=True), True)
    for page in PAGES:
        for token in tokens(page):
            for code in (child for child in token.children or () if child.type == "code_inline"):
                if command := COMMAND.fullmatch(code.content):
                    yield Typed(str(page), shlex.split(command[1]), False)
                elif " " in code.content and isinstance(main.commands.get(code.content.split()[0]), click.Group):
                    yield Typed(str(page), ["consent-server", *shlex.split(code.content)], False)
    for file in COMMENTED:
        for command in map(COMMAND.fullmatch, re.findall("`(.*?)`", (ROOT / file).read_text(encoding="utf-8"))):
            if command:
                yield Typed(str(file), shlex.split(command[1]), False)


TYPED = list(typed())


@pytest.mark.parametrize("page", sorted({each.where.partition(":")[0] for each in TYPED}))
def test_what_is_typed_can_be_typed(page: str) -> None:
    for command in (each for each in TYPED if each.where.partition(":")[0] == page):
        wrong = fault(command)
        assert wrong is None, f"{command.where}: {' '.join(command.words)}: {wrong}"


def test_there_are_commands_of_each_kind() -> None:
    whole = [each.words for each in TYPED if each.whole]
    assert {words[0] for words in whole} >= {"consent-server", "make", "python"}
    assert len(whole) > 20


def fault(command: Typed) -> str | None:
    program, *words = command.words
    if program == "make":
        targets = [word for word in words if "=" not in word]
        return next((f"no target {each}" for each in targets if not re.search(rf"^{each}:", MAKEFILE, re.M)), None)
    if program.startswith("python"):
        return None if words[1] in ("venv", "pip") or importlib.util.find_spec(words[1]) else "no such module"
    try:
        parse(words, command.whole)
    except click.UsageError as error:
        return error.format_message()
    return None


def parse(words: list[str], whole: bool) -> None:
    """Read the words as click does, but touch no file. Raise click.UsageError."""
    command: click.Command = main
    while isinstance(command, click.Group) and words:
        name, *words = words
        if name == "COMMAND":
            return
        if name not in command.commands:
            raise click.UsageError(f"no command {name}")
        command = command.commands[name]
    context = click.Context(command, ignore_unknown_options=False)
    given, left, _ = command.make_parser(context).parse_args(words)
    if left:
        raise click.UsageError(f"{left} is too much")
    for parameter in command.params if whole else ():
        if parameter.name not in given or parameter.value_is_missing(given[parameter.name]):
            if parameter.required and parameter.name != "config":  # CONSENT_CONFIG
                raise click.UsageError(f"{parameter.name} is missing")
        elif not isinstance(parameter.type, click.Path | click.File):
            parameter.type_cast_value(context, given[parameter.name])


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("consent-server audits", id="no command"),
        pytest.param("consent-server work --twice", id="no option"),
        pytest.param("consent-server serve --door both --config edp.toml", id="no choice"),
        pytest.param("consent-server keys retire --config edp.toml signing", id="an argument too few"),
        pytest.param("consent-server work --config edp.toml now", id="an argument too many"),
        pytest.param("make tea", id="no target"),
        pytest.param("python -m scripts.nothing", id="no module"),
    ],
)
def test_what_cannot_be_typed_is_found(words: str) -> None:
    assert fault(Typed("here", words.split(), True))


def rows(page: str, heading: str) -> Iterator[tuple[str, list[str]]]:
    """What the first cell of each row of the table under a heading names, and the options named in the row."""
    table = (ROOT / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| (`.*)\|$", table, re.MULTILINE):
        yield re.split(r"(?<!\\)\|", row)[0].strip(), re.findall(r"`(--[a-z-]+)", row)


def test_the_operators_table_names_every_target() -> None:
    named = {
        target
        for cell, _ in rows("docs/operator.md", "From a checkout")
        for target in re.findall(r"make ([\w-]+)", cell)
    }
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert named == set(phony[1].split())
