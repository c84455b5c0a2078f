"""A table of a settings file: its type, how a file that is one table is read, and what is said of a bad one."""

import tomllib
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_S = TypeVar("_S", bound=Section)
#: By pydantic's name of the fault: what says more to the author of a settings file than "inputs" and "fields".
_OUR_WORDS: Final = {
    "extra_forbidden": "there is no such key",
    "missing": "this key is missing",
    "tuple_type": "this must be a list",
}


class BadSettings(Exception):
    """The settings cannot be used; the message has one line for each key, saying what to change."""


def load_section(path: Path, kind: type[_S]) -> _S:
    """Return what a TOML file of its own holds, such as config/guard.toml; relative file names in it are relative to the file.

    Raise BadSettings.
    """
    try:
        return kind(**with_absolute_paths(read_toml(path), path.parent, kind))
    except ValidationError as error:
        raise BadSettings(f"{path}:\n  " + "\n  ".join(faults(error))) from None
    except TypeError as error:  # a number for the name of a file
        raise BadSettings(f"{path}: {error}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds. Raise BadSettings."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        todo = "name yours with --config (a party's also with CONSENT_CONFIG); config/ has examples to copy"
        raise BadSettings(f"{path}: there is no such settings file: {todo}") from None
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadSettings(f"{path}: not TOML: it must be UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{path}: not TOML: {error}") from None


def faults(error: ValidationError, whole: str = "settings") -> list[str]:
    """Return a line for each fault: the key, or `whole`, and what to change, but never the value."""
    return [
        f"{'.'.join(str(part) for part in fault['loc']) or whole}: "
        + _OUR_WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, "))
        for fault in error.errors()
    ]


def path_keys(section: type[BaseModel]) -> set[tuple[str, ...]]:
    """Return the key of every setting that is a file path, such as ("metering", "http", "roots")."""
    return keys_of((Path, Path | None), section)


def unreadable(error: OSError, section: BaseModel) -> BadSettings:
    """Return what to say of a file that could not be read: the keys of a section that name it, the file, and why."""
    keys = [".".join(key) for key in sorted(path_keys(type(section))) if str(_at(section, key)) == str(error.filename)]
    return BadSettings(f"{', '.join(keys)}: " * bool(keys) + f"{error.filename}: {error.strerror}")


def _at(section: Any, key: tuple[str, ...]) -> Any:
    for name in key:
        section = getattr(section, name)
    return section


def keys_of(kinds: tuple[Any, ...], section: type[BaseModel]) -> set[tuple[str, ...]]:
    """Return the key of every setting of certain types, in the sections of a section as well."""
    found: set[tuple[str, ...]] = set()
    for key, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found |= {(key, *deeper) for deeper in keys_of(kinds, field.annotation)}
        elif field.annotation in kinds:
            found.add((key,))
    return found


def with_absolute_paths(values: dict[str, Any], base: Path, kind: type[BaseModel]) -> dict[str, Any]:
    """Return the values of a file, changed: each file name in them is relative to `base`, and an empty one is None."""
    for *sections, key in path_keys(kind):
        table: Any = values
        for section in sections:
            table = table.get(section, {}) if isinstance(table, dict) else {}
        if not isinstance(table, dict):
            continue  # which validation will refuse
        if text := table.get(key):
            table[key] = str(base / text)
        elif text == "":
            table[key] = None
    return values
