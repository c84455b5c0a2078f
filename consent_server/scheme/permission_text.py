"""Permission texts: which fuels and placeholders a text names, and how it is shown.

A text is shown as published with its placeholders filled, and never corrected, shortened or translated.
"""

import hashlib
import html
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

# Exact tokens of the 2026-03-12 texts, then those of the older ones.
EDP_PRIVACY_POLICY: Final = "[EDP privacy policy link]"
PLACEHOLDERS: Final = (
    "[CAP]",
    "[EDP]",
    "[FSP]",
    EDP_PRIVACY_POLICY,
    "[CAP process]",
    "[Carbon accounting provider]",
    "[insert source of data]",
    "[insert specific name of financial services provider]",
)


class UnfilledPlaceholder(ValueError):
    """A permission text would show a placeholder, or a bracket that may be one, instead of its value."""


@dataclass(frozen=True)
class Named:
    """What a text names of the data beside the fuels that are consumed, each only where a sentence of it says so.

    `months_back` is how far back the data go, None where the text sets no limit.
    """

    tariffs: frozenset[str] = frozenset()
    export: bool = False
    half_hourly: bool = False
    by_month: bool = False
    months_back: int | None = None


@dataclass(frozen=True)
class ShownText:
    """A license's permission text, filled for one client.

    `text` is the filled text, `html` its rendering, `shown_sha256` the digest of `text`, `raw_sha256` that of the
    Registry's bytes. `names` holds the party names that were filled in, under "EDP", "CAP" and "FSP" as far as the text
    has them; `duration` is the license's own words, such as "1 year". `label` is the license's, and `uses` are those that
    it permits. `named` is read from the raw text, so that no name that is filled in can add to it. `ending` and
    `withdrawal` are the text's own sentences (`on_ending`, `on_withdrawal`). `legal_names` are those of the parties in
    `names`.
    """

    html: str
    text: str
    shown_sha256: str
    raw_sha256: str
    names: Mapping[str, str]
    fuels: frozenset[str]
    title: str
    duration: str
    label: str = ""
    uses: tuple[str, ...] = ()
    named: Named = Named()
    ending: str = ""
    withdrawal: str = ""
    legal_names: Mapping[str, str] = field(default_factory=dict)


def question_digest(text: ShownText, *facts: str) -> str:
    """Return the digest (hex) of a question to an SME: the text shown, and every fact that decides what is agreed to.

    It is kept when the page is shown, sent in its form and compared when the form arrives, so that nobody agrees to another
    text, client or meter than was read (IB1 Permission Records).
    """
    question = json.dumps([text.shown_sha256, text.raw_sha256, *facts])
    return hashlib.sha256(question.encode()).hexdigest()


# What a text names

_GREENHOUSE_GAS = re.compile(r"green\s?-?house[\s-]+gas(?:es)?")
_FUEL = r"(?:(?:natural|mains)\s)?(?:electricity|gas)"
_FUELS = rf"\b{_FUEL}(?:(?:\s?,\s?|\s?/\s?|\s?&\s?|\s(?:and|or|and/or)\s){{1,2}}(?:your\s|of\s|for\s)?{_FUEL}){{0,3}}\b"
_CONSUMED = re.compile(
    # "electricity and gas consumption", "gas meter readings", "gas you use"
    rf"(?P<before>{_FUELS})(?:\s(?:data|meter|smart|half-hourly|hourly|energy|that|which|you|your|business|has|have)){{0,6}}"
    r"\s(?:consumption|consumed|consumes?|usage|use[sd]?|readings)\b"
    # "consumption of electricity and gas", "usage data for gas"; but no "use of electricity and gas tariff data"
    r"|\b(?:consumption|usage|use|consumes?|uses|readings)(?:\s(?:data|of|for|your|half-hourly|smart|meter)){0,6}"
    rf"\s\(?(?P<after>{_FUELS})(?!\s*(?:tariff|price|cost|bill|emission))"
)
_NEGATED = re.compile(
    r"\b(?:not|no|never|nor|neither|without|except|excepting|excluding|excludes?|other than)\b|n['’]t\b"
)


@lru_cache(maxsize=64)  # asked for each page that shows a text
def names_fuel(raw_text: str, fuel: str) -> bool:
    """Return whether the text names the fuel as something consumed: "Your electricity and gas consumption".

    "Greenhouse gas" does not name gas; nor does a tariff, nor a sentence that excludes anything. Wording that is not
    recognised does not name the fuel: the license is then refused, and a person must look at it.
    """
    return any(
        fuel in re.findall(r"electricity|gas", match["before"] or match["after"])
        for sentence in _asserted(raw_text)
        for match in _CONSUMED.finditer(sentence)
    )


_TARIFF: Final = re.compile(r"\btariffs?\b")
_EXPORT: Final = re.compile(r"\bexport(?:s|ed|ing)?\b")
_HALF_HOURLY: Final = re.compile(r"\bhalf[ -]?hour|\b(?:30|thirty)[ -]minute")
_BY_MONTH: Final = re.compile(r"\b(?:by|each|every|per) month\b|\bmonthly\b|\bmonth by month\b")
_NUMBERS: Final = {"": 1, "one": 1, "two": 2, "three": 3, "twelve": 12, "thirteen": 13, "twenty-four": 24}
_BACK: Final = re.compile(
    rf"\b(?:last|past|preceding|previous)\s(?:(?P<count>[0-9]{{1,3}}|{'|'.join(filter(None, _NUMBERS))})\s)?"
    r"(?P<unit>month|year)s?\b"
)


@lru_cache(maxsize=64)  # a text is pinned, and read for each page that shows it
def named(raw_text: str) -> Named:
    """Return what a text names of the data. What is named in a sentence that excludes anything is not named."""
    sentences = list(_asserted(raw_text))
    back = [match for sentence in sentences for match in _BACK.finditer(sentence)]
    return Named(
        tariffs=frozenset(
            fuel for each in sentences if _TARIFF.search(each) for fuel in re.findall(r"\b(electricity|gas)\b", each)
        ),
        export=any(_EXPORT.search(each) for each in sentences),
        half_hourly=any(_HALF_HOURLY.search(each) for each in sentences),
        by_month=any(_BY_MONTH.search(each) for each in sentences),
        months_back=max((_months(match) for match in back), default=None),
    )


def _months(match: re.Match[str]) -> int:
    count = match["count"] or ""
    return (_NUMBERS[count] if count in _NUMBERS else int(count)) * (12 if match["unit"] == "year" else 1)


def on_withdrawal(text: str) -> str:
    """Return the sentences of a text, raw or filled, that say what a withdrawal leads to: those of its paragraphs on it."""
    return _quoted(text, r"\bwithdraw", r"\b(?:stop|cease|delet|eras)")


def said_on_withdrawal(filled_text: str) -> str:
    """Return the same of a filled text, without markup."""
    return without_markup(on_withdrawal(filled_text))


def on_ending(text: str) -> str:
    """Return the sentences of a text, raw or filled, by which a permission ends otherwise than by time or withdrawal."""
    return _quoted(text, r"\bends? (?:when|once|as soon as)\b", r"\bends? (?:when|once|as soon as)\b")


def _quoted(text: str, of_paragraph: str, of_sentence: str) -> str:
    paragraphs = re.split(r"\r?\n[^\S\n]*\r?\n", text)
    return " ".join(
        sentence
        for paragraph in paragraphs
        if re.search(of_paragraph, paragraph, re.IGNORECASE)
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split()))
        if re.search(of_sentence, sentence, re.IGNORECASE)
    )


def without_markup(filled_text: str) -> str:
    """Return the words of a filled text, without what marks up links and italics."""
    return html.unescape(re.sub(r"<[^>]*>", "", render(filled_text))).strip()


def _asserted(raw_text: str) -> Iterator[str]:
    """Yield the sentences that exclude nothing, as `_sentences` does."""
    return (sentence for sentence in _sentences(raw_text) if not _NEGATED.search(sentence))


def _sentences(raw_text: str) -> Iterator[str]:
    """Yield sentences and bullets, in lower case, with single spaces and without greenhouse gas."""
    paragraphs = re.split(r"\r?\n[^\S\n]*(?=\r?\n|\* )", "\n" + raw_text.casefold())
    for part in paragraphs:
        for sentence in re.split(r"[.;:!?](?=\s|$)", part):
            yield _GREENHOUSE_GAS.sub("ghg", re.sub(r"\s+", " ", sentence.replace("*", " ")))


# Filling and rendering. The texts use a tiny part of Markdown: paragraphs, "* " bullets, a line in _italics_, links,
# bare https URLs. Values that are filled in have every character escaped that could mean something there.

_BRACKETED = re.compile(r"(?P<token>\[[^\[\]\r\n]*\])(?P<target>\([^()\s]*\))?")
_MEANINGFUL = re.compile(r"[\\\[\]*_:]")
_INLINE = re.compile(
    r"\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|\[(?P<label>(?:\\.|[^\[\]\\])+)\]\((?P<target>https://[^\s()<>\\]+)\)"
    r"|(?P<bare>https://[^\s()<>\[\]\\\"'“”‘’]*[^\s()<>\[\]\\\"'“”‘’.,;:!?*_])"
)
_ITALIC_LINE = re.compile(r"_(?P<text>(?:\\.|[^_\\])+)_")


def fill(raw_text: str, values: Mapping[str, str]) -> str:
    """Return the text with its placeholders filled, still in the texts' Markdown; `values` maps whole tokens ("[EDP]").

    Markdown links stay. Values are escaped, so that a name is never markup or a link; a value that is an https URL
    becomes a link where the placeholder may be one, and the privacy policy must be one.
    Raise UnfilledPlaceholder for a token without a usable value, an unknown token, or a stray bracket.
    """
    if re.search(r"[\[\]]", _BRACKETED.sub("", raw_text)):
        raise UnfilledPlaceholder("a square bracket that opens or closes nothing")

    def replacement(match: re.Match[str]) -> str:
        token, target = match["token"], match["target"] or ""
        if token not in PLACEHOLDERS:
            if not target:
                raise UnfilledPlaceholder(f"unknown placeholder {token[:80]}")
            return match[0]
        value = _one_line(values.get(token, ""))
        if not value or target.startswith("(https://"):
            raise UnfilledPlaceholder(token)
        return _as_markdown(token, value) + target

    return _BRACKETED.sub(replacement, raw_text)


@lru_cache(maxsize=256)  # as many as there are licenses and parties that a text may name
def render(filled_text: str) -> str:
    """Return a filled text as HTML: p, ul, li, em, and a with an https target; everything else is escaped text."""
    blocks: list[str] = []
    paragraph: list[str] = []
    items: list[str] = []

    def finish() -> None:
        if paragraph:
            blocks.append(f"<p>{_inline(' '.join(paragraph))}</p>")
        if items:
            blocks.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")
        paragraph.clear()
        items.clear()

    for line in filled_text.replace("\r\n", "\n").split("\n"):
        words = line.strip()
        italic = _ITALIC_LINE.fullmatch(words)
        if not words:
            finish()
        elif italic:
            finish()
            blocks.append(f"<p><em>{_inline(italic['text'])}</em></p>")
        elif words.startswith("* "):
            if paragraph:
                finish()
            items.append(words[2:])
        elif items:
            items[-1] += f" {words}"
        else:
            paragraph.append(words)
    finish()
    return "\n".join(blocks)


def _one_line(value: str) -> str:
    """Return the value without line breaks and without the invisible characters that reorder or hide text."""
    spaced = re.sub(r"\s+", " ", value)
    return "".join(c for c in spaced if unicodedata.category(c)[0] != "C").strip()


def _as_markdown(token: str, value: str) -> str:
    escaped = _MEANINGFUL.sub(r"\\\g<0>", value)
    if token not in (EDP_PRIVACY_POLICY, "[CAP process]"):
        return escaped
    if is_web_address(value):
        return f"[{escaped}]({value.replace('(', '%28').replace(')', '%29')})"
    if token == EDP_PRIVACY_POLICY:
        raise UnfilledPlaceholder(f"{token} is not an https URL")
    return escaped


def _inline(markdown: str) -> str:
    pieces: list[str] = []
    position = 0
    for match in _INLINE.finditer(markdown):
        pieces.append(html.escape(markdown[position : match.start()]))
        position = match.end()
        if match["escaped"]:
            pieces.append(html.escape(match["escaped"]))
        elif match["bare"]:
            pieces.append(_anchor(match["bare"], html.escape(match["bare"])))
        else:
            pieces.append(_anchor(match["target"], html.escape(re.sub(r"\\(.)", r"\1", match["label"]))))
    pieces.append(html.escape(markdown[position:]))
    return "".join(pieces)


def _anchor(target: str, label: str) -> str:
    return f'<a href="{html.escape(target)}" rel="noopener noreferrer">{label}</a>'


def is_web_address(value: str) -> bool:
    """Return whether this is an https URL of visible ASCII with a host, without a user name."""
    if not re.fullmatch(r"https://[!-~]+", value) or re.search(r"[<>\[\]\\\"']", value):
        return False
    try:
        parts = urlsplit(value)
        return bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False
