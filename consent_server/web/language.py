"""The door through which every sentence of a page passes. English alone, so far: a catalogue would be read here."""


def gettext(message: str) -> str:
    """The message in the reader's language."""
    return message


def ngettext(singular: str, plural: str, count: int) -> str:
    """The singular or plural form for `count`."""
    return singular if count == 1 else plural
