"""The chain of a verified record as a picture, in SVG.

Similar steps share one box (meter readings of twelve windows, say), and the boxes are in columns, from the origins on the
left to the transfers on the right. The picture has a title and a description for people who cannot see it, and its text is
real text. It contains no script, no style sheet, no link and nothing from elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from consent_server.scheme.provenance.chain import StepInWords, in_words
from consent_server.scheme.provenance.container import VerifiedStep

#: Boxes; a report has a few, and more than this cannot be read.
MOST_BOXES = 60
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 240, 78, 60, 16, 12
_LINE_CHARACTERS = 36
#: Dark on light, 7:1 or more (WCAG 2.2, 1.4.6), and distinguished by the first line of each box as well.
_FILL = {"origin": "#e7f0e4", "transfer": "#e4ebf5", "process": "#f5ecdc", "receipt": "#eeeeee"}


@dataclass
class _Box:
    """Steps that are alike: the words of the first one, how many there are, and the boxes that they rest on."""

    first: StepInWords
    count: int = 0
    sources: set[tuple[str, ...]] = field(default_factory=set)
    column: int = 0
    row: int = 0


_Key = tuple[str, ...]


def svg(steps: Sequence[VerifiedStep], title: str) -> str:
    """Return the picture of a verified record, under a title."""
    known = in_words(steps)
    boxes = _boxes(known, _fine)
    if len(boxes) > MOST_BOXES:
        boxes = _boxes(known, _coarse)
    shown = dict(list(boxes.items())[-MOST_BOXES:])  # the last ones are nearest to the figures
    _place(shown)
    columns = max((box.column for box in shown.values()), default=0) + 1
    rows = max((box.row for box in shown.values()), default=0) + 1
    width = 2 * _MARGIN + columns * _WIDTH + (columns - 1) * _GAP_X
    height = 2 * _MARGIN + rows * _HEIGHT + (rows - 1) * _GAP_Y + (24 if len(shown) < len(boxes) else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="chain-title chain-desc" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
        f'<title id="chain-title">{escape(title)}</title>',
        f'<desc id="chain-desc">{escape(_description(shown))}</desc>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *(_edge(shown[source], box) for box in shown.values() for source in sorted(box.sources) if source in shown),
        *(_drawn(box) for box in shown.values()),
    ]
    if len(shown) < len(boxes):
        parts.append(
            f'<text x="{_MARGIN}" y="{height - _MARGIN}" fill="#111111">and {len(boxes) - len(shown)} more</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _boxes(steps: Mapping[str, StepInWords], key: Callable[[StepInWords], _Key]) -> dict[_Key, _Box]:
    """Return the boxes in order, each of the steps with one key. A receipt is the line from a transfer to what rests on it."""
    keys = {each.id: key(each) for each in steps.values()}
    boxes: dict[_Key, _Box] = {}
    for each in steps.values():
        if each.kind in ("permission", "receipt"):
            continue
        box = boxes.setdefault(keys[each.id], _Box(each))
        box.count += 1
        for source in each.sources:
            behind = steps[source]
            box.sources.add(keys[behind.sources[0] if behind.kind == "receipt" else source])
    return boxes


def _fine(each: StepInWords) -> _Key:
    """Return what steps that are alike have in common: kind, signer, and the words before the first period of time."""
    return each.kind, each.member, each.text.split(", ")[0]


def _coarse(each: StepInWords) -> _Key:
    """Return the same without place and recipient."""
    return each.kind, each.member, *each.text.split(", ")[0].split(" ")[:2]


def _place(boxes: Mapping[_Key, _Box]) -> None:
    """Put each box right of those that it rests on, and below those of its column."""
    used: dict[int, int] = {}
    for key, box in boxes.items():  # in the record's order, in which what is rested on comes first
        behind = [boxes[source].column for source in box.sources if source in boxes and source != key]
        box.column = max(behind, default=-1) + 1
        box.row = used.get(box.column, 0)
        used[box.column] = box.row + 1


def _corner(box: _Box) -> tuple[int, int]:
    return _MARGIN + box.column * (_WIDTH + _GAP_X), _MARGIN + box.row * (_HEIGHT + _GAP_Y)


def _edge(source: _Box, box: _Box) -> str:
    (x1, y1), (x2, y2) = _corner(source), _corner(box)
    x1, y1, y2, middle = x1 + _WIDTH, y1 + _HEIGHT // 2, y2 + _HEIGHT // 2, (x1 + _WIDTH + x2) // 2
    return (
        f'<path d="M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}" fill="none" stroke="#555555" stroke-width="1.5"/>'
    )


def _drawn(box: _Box) -> str:
    x, y = _corner(box)
    kind, _, rest = box.first.text.split(", ")[0].partition(" ")
    what, _, where = rest.partition(" https://")
    times = f" ({box.count})" if box.count > 1 else ""
    lines = (f"{kind.capitalize()}{times}", what, _cut_front(where), f"signed by {box.first.signer}", box.first.at)
    text = "".join(
        f'<tspan x="{x + 8}" dy="{0 if number == 0 else 14}"{_bold(number)}>{escape(_cut(line))}</tspan>'
        for number, line in enumerate(lines)
    )
    return (
        f'<g><title>{escape(_sentence(box))}</title><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="4" '
        f'fill="{_FILL[box.first.kind]}" stroke="#333333"/><text x="{x + 8}" y="{y + 15}" fill="#111111">{text}</text></g>'
    )


def _bold(number: int) -> str:
    return ' font-weight="bold"' if number == 0 else ""


def _cut(line: str) -> str:
    return line if len(line) <= _LINE_CHARACTERS else f"{line[: _LINE_CHARACTERS - 1]}…"


def _cut_front(address: str) -> str:
    """Return what fits of an address, whose end tells one from another."""
    return address if len(address) <= _LINE_CHARACTERS else f"…{address[1 - _LINE_CHARACTERS :]}"


def _description(boxes: Mapping[_Key, _Box]) -> str:
    return " ".join(_sentence(box) for box in boxes.values())


def _sentence(box: _Box) -> str:
    alike = f" ({box.count} alike)" if box.count > 1 else ""
    return f"{box.first.text}{alike}, signed by {box.first.signer} at {box.first.at}."
