"""The one translation function: every sentence that a person reads is passed to it whole.

There is only English so far; a catalogue would be read here. Its messages are found by the calls of `_`, `gettext` and
`ngettext` in templates and modules, by `N_`, and in the family of Refusals (`public` and `help`).
"""


def gettext(message: str, **values: object) -> str:
    """Return the message in the reader's language, with the values in its placeholders."""
    return message % values if values else message


def ngettext(singular: str, plural: str, count: int) -> str:
    """Return the singular or the plural form for `count`."""
    return singular if count == 1 else plural


def N_(message: str) -> str:
    """Return the message as it is: this marks one that is translated later, where it is shown."""
    return message
