"""The sources that the settings name: our own tables, a database, files or a service of the EDP's own, or plug-ins.

A plug-in is an object, or a module, that has the methods of the interface; `module:name` names it. It is looked at when a door
or a command starts, and `consent-server doctor` and `consent-server metering check` call it.
"""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any, cast

from consent_server import store
from consent_server.deployment import current
from consent_server.metering.own import OwnReadings, OwnRegister
from consent_server.metering.readings import Readings
from consent_server.metering.register import Register
from consent_server.metering.service import ServiceReadings, ServiceRegister
from consent_server.metering.sql import SqlReadings, SqlRegister
from consent_server.metering.unavailable import SourceUnavailable as SourceUnavailable
from consent_server.settings import BadSettings
from consent_server.settings.metering import MeteringSettings
from consent_server.settings.plug_in import plug_in


def register() -> Register:
    """Return the deployment's meter register."""
    return register_of(current().settings.metering)


def readings() -> Readings:
    """Return the deployment's source of readings."""
    return readings_of(current().settings.metering)


def act() -> AbstractContextManager[None]:
    """Return what an act that asks the register runs in: one transaction where the register is our own table. Else its parts
    are transactions of their own, since none may be open while another's server is waited for.
    """
    return store.together() if isinstance(register(), OwnRegister) else nullcontext()


@lru_cache(maxsize=8)
def register_of(metering: MeteringSettings) -> Register:
    """Return the register that `metering.register_source` names. Raise BadSettings."""
    vouches = metering.vouches_for_sites
    match metering.register_source:
        case "table":
            return OwnRegister(vouches)
        case "sql":
            return SqlRegister(metering.sql_register, vouches)
        case "parquet":
            with _pyarrow():
                from consent_server.metering.parquet import ParquetRegister
            return ParquetRegister(metering.parquet, vouches)
        case "http":
            return ServiceRegister(metering.http, vouches)
        case name:
            return cast(Register, _plug_in("metering.register_source", name, Register))


@lru_cache(maxsize=8)
def readings_of(metering: MeteringSettings) -> Readings:
    """Return the readings that `metering.readings_source` names. Raise BadSettings."""
    match metering.readings_source:
        case "day-blocks":
            return OwnReadings()
        case "sql":
            return SqlReadings(metering.sql_readings)
        case "parquet":
            with _pyarrow():
                from consent_server.metering.parquet import ParquetReadings
            return ParquetReadings(metering.parquet)
        case "http":
            return ServiceReadings(metering.http)
        case name:
            return cast(Readings, _plug_in("metering.readings_source", name, Readings))


@contextmanager
def _pyarrow() -> Iterator[None]:
    """Import what needs pyarrow, which only the source `parquet` does. Raise BadSettings where it is not installed."""
    try:
        yield
    except ImportError as error:
        raise BadSettings(f"metering: pip install 'consent-server[parquet]' for this source ({error.name})") from None


def _plug_in(setting: str, name: str, interface: type) -> Any:
    """Return the object that `module:name` names. Raise BadSettings, which says what it lacks."""
    found = plug_in(setting, name, "a known name")
    if isinstance(found, type):
        raise BadSettings(f"{setting}: {name} is a class; name an object of it")
    lacking = [_form(method) for method in _methods(interface) if not _takes(found, method)]
    if lacking:
        raise BadSettings(f"{setting}: {name} has no {' and no '.join(lacking)}")
    return found


def _methods(interface: type) -> list[Any]:
    return [member for name, member in vars(interface).items() if inspect.isfunction(member) and name[0] != "_"]


def _parameters(method: Any) -> list[str]:
    return list(inspect.signature(method).parameters)[1:]  # without self


def _form(method: Any) -> str:
    return f"{method.__name__}({', '.join(_parameters(method))})"


def _takes(found: object, method: Any) -> bool:
    """Return whether an object has this method, and it can be called as the interface says."""
    own = getattr(found, method.__name__, None)
    try:
        inspect.signature(own).bind(*_parameters(method))  # type: ignore[arg-type]  # TypeError is expected
    except (TypeError, ValueError):
        return False
    return True
