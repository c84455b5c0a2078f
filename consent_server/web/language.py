"""The one translation function: every sentence that a person reads is passed to it whole.

English is in the code; `translations/` has the Welsh, which `python -m scripts.messages` brings up to date. Its messages are
found by the calls of `_`, `gettext` and `ngettext` in templates and modules, by `N_`, in the family of Refusals (`public`),
and in what scheme.meters says of a number that was typed.

The reader's language is the one chosen on a page (web.switch), else the first of its browser that there is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from babel.support import NullTranslations
from flask import Flask, has_request_context, request
from flask_babel import Babel, force_locale, get_babel, get_locale, get_translations

ENGLISH: Final = "en"
WELSH: Final = "cy"
#: Each language with its own name for itself, the one of the code first.
NAMES: Final = {ENGLISH: "English", WELSH: "Cymraeg"}
#: What pages are marked with (BCP 47).
TAGS: Final = {ENGLISH: "en-GB", WELSH: "cy"}
COOKIE: Final = "__Host-language"
#: Names the language of one page, which keeps nothing: for the page in others' frames, which has no form and no cookie.
PARAMETER: Final = "language"
TRANSLATIONS: Final = Path(__file__).parent / "translations"


def install(app: Flask, *, of_reader: bool) -> None:
    """Make `app` use the language of its reader; without `of_reader`, English unless `speaking` sets another."""
    selector = _of_reader if of_reader else None
    Babel(app, configure_jinja=False, default_translation_directories=str(TRANSLATIONS), locale_selector=selector)


def current() -> str:
    """Return the language that is spoken now."""
    locale = get_locale()
    return ENGLISH if locale is None else str(locale.language)


def of_reader() -> str | None:
    """Return the language in which a person acts now; None where a program does, or a command."""
    return current() if has_request_context() and get_babel().locale_selector is not None else None


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Speak another language, for what another person reads, or for a record."""
    with force_locale(language):
        yield


def gettext(message: str, **values: object) -> str:
    """Return the message in the language that is spoken, with the values in its placeholders."""
    said = _catalogue().ugettext(message) if message else message  # the empty one is the catalogue's own head
    return said % values if values else said


def ngettext(singular: str, plural: str, count: int) -> str:
    """Return the form for `count`, of which Welsh has six."""
    return _catalogue().ungettext(singular, plural, count)


def N_(message: str) -> str:
    """Return the message as it is: this marks one that is translated later, where it is shown."""
    return message


def _catalogue() -> NullTranslations:
    found: NullTranslations = get_translations()
    return found


def _of_reader() -> str | None:
    if not has_request_context():
        return None
    for chosen in (request.args.get(PARAMETER), request.cookies.get(COOKIE)):
        if chosen in NAMES:
            return chosen
    # Not `best_match`, for which a later `en` is better than an earlier `cy-GB`.
    accepted = (tag.partition("-")[0].lower() for tag, quality in request.accept_languages if quality > 0)
    return next((primary for primary in accepted if primary in NAMES), None)
