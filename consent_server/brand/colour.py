"""A party's colour as the stylesheet uses it: the shades that are made from it, and their contrast (WCAG 2.2 AA)."""

from dataclasses import dataclass
from typing import Final

#: WCAG 2.2, 1.4.3 Contrast (Minimum): text of any size. What is no text needs less (1.4.11).
LEAST_CONTRAST: Final = 4.5
_STRONG: Final = 0.75  # of the colour; the rest is the ink's
_WASH: Final = 0.1  # of the colour; the rest is the surface's
_ON_COLOUR: Final = ("#ffffff", "#06110d")


@dataclass(frozen=True)
class Theme:
    """The colours of style.css that do not depend on the party's: each is text, or the background of text."""

    name: str
    ground: str
    surface: str
    ink: str
    soft: str


LIGHT: Final = Theme("light", ground="#f3f5f4", surface="#ffffff", ink="#14201d", soft="#50605b")
DARK: Final = Theme("dark", ground="#0f1614", surface="#18211e", ink="#eaf1ee", soft="#a5b5af")


@dataclass(frozen=True)
class Shades:
    """What style.css makes of a colour: `strong` under the pointer and on `wash`, `on` for text on it."""

    colour: str
    strong: str
    wash: str
    on: str

    def css(self) -> str:
        """Return the declarations of the custom properties."""
        return (
            f"--brand: {self.colour}; --brand-strong: {self.strong}; --brand-wash: {self.wash}; --on-brand: {self.on};"
        )


def shades(colour: str, theme: Theme) -> Shades:
    """Return the shades of a colour such as #0b5d4a. Raise ValueError, with the number, where one is too hard to read."""
    strong, wash = _mixed(colour, theme.ink, _STRONG), _mixed(colour, theme.surface, _WASH)
    on = max(_ON_COLOUR, key=lambda each: contrast(each, colour))
    pairs = (
        (colour, theme.ground, "as text on the page"),
        (colour, theme.surface, "as text on a card"),
        (on, colour, "under the text of a button"),
        (on, strong, "under the text of a button that is pointed at"),
        (strong, wash, "as text on its own wash"),
        (theme.ink, wash, "as a wash under text"),
        (theme.soft, wash, "as a wash under soft text"),
    )
    for text, behind, where in pairs:
        found = contrast(text, behind)
        if found < LEAST_CONTRAST:
            raise ValueError(
                f"{colour} has too little contrast {where} in the {theme.name} theme: {found:.2f}:1 of {text} on {behind}, "
                f"where WCAG 2.2 AA asks for {LEAST_CONTRAST}:1 (1.4.3)"
            )
    return Shades(colour, strong, wash, on)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours such as #0b5d4a, from 1 to 21 (WCAG 2.2, contrast ratio)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.2, relative luminance)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in _parts(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _parts(colour: str) -> tuple[float, float, float]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red / 255, green / 255, blue / 255


def _mixed(one: str, other: str, share: float) -> str:
    """Return `share` of one colour and the rest of the other."""
    parts = (share * a + (1 - share) * b for a, b in zip(_parts(one), _parts(other), strict=True))
    return "#" + "".join(f"{round(part * 255):02x}" for part in parts)
