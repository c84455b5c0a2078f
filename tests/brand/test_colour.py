"""A party's colour: its contrast, by the figures of WCAG 2.2, and what is refused at the start."""

import re
from typing import Any

import pytest

from consent_server.brand import colour
from consent_server.settings.doors import BrandSettings
from consent_server.web.look import STATIC


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#000000", "#ffffff", 21), ("#777777", "#ffffff", 4.48), ("#767676", "#ffffff", 4.54), ("#0b5d4a", "#0b5d4a", 1)],
)
def test_the_contrast_is_that_of_wcag(one: str, other: str, ratio: float) -> None:
    assert colour.contrast(one, other) == colour.contrast(other, one) == pytest.approx(ratio, abs=0.005)


@pytest.mark.parametrize(
    ("set_", "said"),
    [
        ({"colour": "#ff8800", "dark_colour": "#5fd0ae"}, r"#ff8800 .* light theme: 2\.19:1 .* 4\.5:1 \(1\.4\.3\)"),
        ({"colour": "#0b5d4a", "dark_colour": "#0b5d4a"}, r"#0b5d4a .* dark theme: 2\.\d\d:1"),
        ({"colour": "#0b5d4a"}, "go together"),
        ({"dark_colour": "#5fd0ae"}, "go together"),
        ({"colour": "green", "dark_colour": "#5fd0ae"}, "pattern"),
        ({"colour": "#0b5d4a;}", "dark_colour": "#5fd0ae"}, "pattern"),
        ({"colour": "#0b5d4a\n", "dark_colour": "#5fd0ae"}, "pattern"),
    ],
)
def test_P15_a_colour_that_cannot_be_read_is_refused_with_the_number(set_: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BrandSettings(**set_)


@pytest.mark.parametrize("theme", [colour.LIGHT, colour.DARK], ids=lambda theme: theme.name)
def test_each_colour_that_is_accepted_can_be_read_in_every_shade(theme: colour.Theme) -> None:
    accepted = 0
    for red, green, blue in (
        (r, g, b) for r in range(0, 256, 51) for g in range(0, 256, 51) for b in range(0, 256, 51)
    ):
        try:
            found = colour.shades(f"#{red:02x}{green:02x}{blue:02x}", theme)
        except ValueError:
            continue
        accepted += 1
        for text, behind in ((found.colour, theme.ground), (found.on, found.strong), (theme.soft, found.wash)):
            assert colour.contrast(text, behind) >= 4.5
    assert accepted > 20


def test_the_themes_are_those_of_the_stylesheet() -> None:
    css = (STATIC / "style.css").read_text(encoding="utf-8")
    for theme, block in zip((colour.LIGHT, colour.DARK), re.findall(r":root \{([^}]*)\}", css), strict=False):
        stated = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", block))
        assert {name: stated[name] for name in ("ground", "surface", "ink", "soft")} == {
            name: getattr(theme, name) for name in ("ground", "surface", "ink", "soft")
        }
