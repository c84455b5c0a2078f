"""The Welsh catalogue is up to date with the code, complete, and has the placeholders of the English."""

import gettext
import re
from pathlib import Path

import pytest

from consent_server.web import language
from scripts import messages

PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%%?.?")
CATALOGUE = [message for message in messages.kept() if message.id]


def forms(text: str | tuple[str, ...]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def test_the_catalogue_is_that_of_the_code_and_is_compiled() -> None:
    """On failure: python -m scripts.messages."""
    assert not list(messages.stale())


def test_no_message_lacks_welsh() -> None:
    """The sandbox has none in the catalogue: it plays other parties, for developers, in English alone."""
    assert not [message.id for message in CATALOGUE if not messages.has_welsh(message)]


def test_no_message_is_fuzzy() -> None:
    assert not [message.id for message in CATALOGUE if message.fuzzy]


def test_the_same_placeholders_on_both_sides() -> None:
    for message in CATALOGUE:
        ours = sorted(PLACEHOLDER.findall(forms(message.id)[-1]))
        for form in filter(None, forms(message.string)):
            assert sorted(PLACEHOLDER.findall(form)) == ours, message.id


@pytest.mark.parametrize(("count", "form"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 5), (6, 4), (7, 5), (12, 5), (102, 5)])
def test_the_forms_of_welsh_numbers(count: int, form: int) -> None:
    """Those of CLDR: zero, one, two, few (3), many (6), other."""
    with Path(messages.COMPILED).open("rb") as file:
        assert gettext.GNUTranslations(file).plural(count) == form  # type: ignore[attr-defined]


def test_every_plural_has_six_forms() -> None:
    assert {len(forms(m.string)) for m in CATALOGUE if isinstance(m.id, tuple)} == {6}


def test_the_code_names_the_languages_that_there_are() -> None:
    assert {path.name for path in language.TRANSLATIONS.iterdir()} == language.NAMES.keys() - {language.ENGLISH}
