"""The check of a picture: what is shown, and what is refused, whoever's it is."""

import pytest

from consent_server.brand import logo
from tests.brand.pictures import GOOD, HOSTILE


@pytest.mark.parametrize(("content", "media_type"), GOOD.values(), ids=GOOD.keys())
def test_a_picture_is_taken_for_what_it_is(content: bytes, media_type: str) -> None:
    assert logo.checked(content) == logo.Logo(content, media_type)


@pytest.mark.parametrize(("content", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_E09_a_hostile_picture_is_refused_in_words_of_our_own(content: bytes, said: str) -> None:
    with pytest.raises(logo.NoLogo, match=said) as refused:
        logo.checked(content)
    assert "evil" not in str(refused.value)
