"""A setting that names an object of somebody else's module."""

import importlib

from consent_server.settings.section import BadSettings


def plug_in(setting: str, name: str, known: str) -> object:
    """Return the object that `module:name` names; `known` says what else the setting may be. Raise BadSettings."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise BadSettings(f"{setting}: {name} must be {known} or module:name, such as ours.plug_in:it")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may fail in any way while it is imported
        raise BadSettings(f"{setting}: {name} cannot be loaded: {type(error).__name__}: {error}") from error
