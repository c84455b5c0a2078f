"""What a reader sees that did not pass whole through the translation function: in a template's source, and on a page."""

import itertools
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from babel.support import NullTranslations
from jinja2 import Environment, nodes

from consent_server.web import language
from scripts import messages
from tests.browser import Browser

# A template becomes one text in which each expression is a single character, and control flow is marks around branches.
SENTENCE, TITLE, LABEL, VALUE, BLOCK = "\ue000", "\ue001", "\ue002", "\ue003", "\ue004"
NAMES = {SENTENCE: "sentence", TITLE: "title", LABEL: "label", VALUE: "value", BLOCK: "macro"}
IF, ELSE, END = "\ue010", "\ue011", "\ue012"
MARKS = IF + ELSE + END

#: From the one that goes together with least: a phrase, a title such as a link's, a sentence.
MESSAGES = (LABEL, TITLE, SENTENCE)
TRANSLATE = {"_", "gettext", "ngettext"}
#: Macros that return markup for a place inside a sentence, and those that return a translated phrase.
INLINE = {"name", "logo", "strong", "span", "opened", "closed"}
PHRASES = {"listed", "fuels", "fuel_name", "state"}
FLOWS_IN = {"a", "abbr", "b", "bdi", "code", "em", "i", "label", "small", "span", "strong", "sub", "sup"}
VOID = {"area", "base", "br", "col", "hr", "img", "input", "line", "link", "meta", "rect", "source"}
VISIBLE = {"alt", "aria-label", "placeholder", "title"}
#: What is no language: units, the name of a license, and codes of refusals.
NO_WORDS = re.compile(r"(?<!\w)(t|kg)CO[2₂]?e?(/m³)?|(?<!\w)e(/m³)?(?!\w)|CC BY 4\.0|\b[a-z]+(_[a-z]+)+\b")
LETTERS = re.compile(r"[^\W\d_]", re.UNICODE)


def environment() -> Environment:
    return Environment(extensions=["jinja2.ext.i18n"], trim_blocks=True, lstrip_blocks=True, autoescape=True)


def faults(source: str) -> list[str]:
    """Return what is wrong in a template's source."""
    tree = environment().parse(source)
    found = [*_bad_calls(tree)]
    for stream in _streams(tree):
        page = _Flows(stream)
        found += page.faults
        for flow in page.flows:
            found += sorted({fault for one in _alternatives(flow) if (fault := _fault(one))})
    return found


def _bad_calls(tree: nodes.Node) -> Iterator[str]:
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name in TRANSLATE:
            count = 2 if call.node.name == "ngettext" else 1
            if not all(isinstance(each, nodes.Const) for each in call.args[:count]):
                yield f"line {call.lineno}: the message is not a constant (use the filter 'translated')"
    for joined in tree.find_all((nodes.Concat, nodes.Mod)):
        if any(_kind(each) in MESSAGES for each in joined.iter_child_nodes()):
            yield f"line {joined.lineno}: a message is joined to something"


def _kind(node: nodes.Node) -> str:
    """Return the character that stands for an expression; a constant stands for itself."""
    if isinstance(node, nodes.Const):
        return str(node.value)
    if isinstance(node, nodes.CondExpr):
        kinds = {_kind(each) for each in (node.expr1, node.expr2) if each is not None}
        worst = next((kind for kind in MESSAGES if kind in kinds), None)
        return worst or "".join(sorted(kinds - {VALUE})) or VALUE
    if isinstance(node, nodes.Filter):
        inner = _kind(node.node) if node.node is not None else VALUE
        return SENTENCE if node.name == "translated" else inner if inner in MESSAGES else VALUE
    if isinstance(node, nodes.Call):
        return _kind_of_call(node)
    return VALUE


def _kind_of_call(node: nodes.Call) -> str:
    callee = node.node
    name = callee.name if isinstance(callee, nodes.Name) else callee.attr if isinstance(callee, nodes.Getattr) else ""
    if name in TRANSLATE and isinstance(callee, nodes.Name):
        message = node.args[0].value if isinstance(node.args[0], nodes.Const) else ""
        if not re.match(r"[A-Z%]", message):
            return LABEL
        return SENTENCE if message.endswith((".", "?", "!", "…")) else TITLE
    if name in PHRASES:
        return LABEL
    return VALUE if name in INLINE or name == "self" else BLOCK


def _streams(tree: nodes.Node) -> Iterator[str]:
    """Yield the text of the template, and that of each macro and each block assignment in it."""
    yield _text(tree)
    inner: Any
    for inner in tree.find_all((nodes.Macro, nodes.AssignBlock)):
        yield "".join(map(_text, inner.body))


def _text(node: nodes.Node) -> str:
    if isinstance(node, nodes.TemplateData):
        return node.data
    if isinstance(node, nodes.Output):
        return "".join(_text(each) if isinstance(each, nodes.TemplateData) else _kind(each) for each in node.nodes)
    if isinstance(node, nodes.If):
        branches = [node.body, *(each.body for each in node.elif_), node.else_]
        return IF + ELSE.join("".join(map(_text, branch)) for branch in branches) + END
    if isinstance(node, nodes.For):
        return IF + "".join(map(_text, node.body)) + ELSE + "".join(map(_text, node.else_)) + END
    if isinstance(node, nodes.Macro | nodes.AssignBlock):
        return ""
    if isinstance(node, nodes.Template | nodes.Block | nodes.Scope):
        return "".join(map(_text, node.body))
    return ""


class _Flows(HTMLParser):
    """The runs of text of a page: what stands between the borders of its blocks."""

    def __init__(self, stream: str) -> None:
        super().__init__()
        self.flows: list[str] = []
        self.faults: list[str] = []
        self._flow = ""
        self._link = 0
        self._open: list[tuple[str, str]] = []
        # Within a tag, control flow says nothing of text.
        self.feed(re.sub(r"<[a-z/!][^<>]*>", lambda tag: re.sub(f"[{MARKS}]", " ", tag[0]), stream))
        self.close()
        self._flush()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = {name: value or "" for name, value in attrs}
        self.faults += [
            f"{tag} {name}={held[name]!r} is not translated" for name in VISIBLE & held.keys() if _words(held[name])
        ]
        if tag not in FLOWS_IN:
            self._flush()
        if tag == "a":
            self._link = len(self._flow)
        if tag not in VOID:
            aside = "aside" if held.get("aria-hidden") == "true" or held.get("class", "") in {"mono", "host"} else ""
            self._open.append((tag, aside))

    def handle_endtag(self, tag: str) -> None:
        if tag not in FLOWS_IN:
            self._flush()
        if tag == "a" and re.sub(f"[{MARKS}]", "", self._flow[self._link :]).strip() == TITLE:
            self._flow = self._flow[: self._link] + "·"  # a link with a title of its own is no part of a sentence
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if any(tag in {"pre", "style"} for tag, _ in self._open):
            return
        if any(aside for _, aside in self._open):
            data = re.sub(f"[^{MARKS}]", "", data)
        self._flow += data

    def _flush(self) -> None:
        if self._flow.strip():
            self.flows.append(self._flow)
        self._flow = ""


def _alternatives(flow: str) -> list[str]:
    """Return the texts that a run can become. Control flow that reaches over the run's borders splits it."""
    innermost = re.search(f"{IF}([^{IF}{END}]*){END}", flow)
    if innermost is None:
        return re.split(f"[{MARKS}]", flow)
    before, after = flow[: innermost.start()], flow[innermost.end() :]
    chosen = dict.fromkeys(innermost[1].split(ELSE))
    return list(dict.fromkeys(itertools.chain.from_iterable(_alternatives(before + one + after) for one in chosen)))


def _words(text: str) -> str:
    return " ".join(piece for piece in NO_WORDS.sub("", text).split() if LETTERS.search(piece))


def _fault(text: str) -> str | None:
    shown = text.translate({ord(kind): f"[{name}]" for kind, name in NAMES.items()})
    if words := _words(text):
        return f"not translated: {words!r} in {' '.join(shown.split())!r}"
    for run in re.split(r"[·–]", text):
        pieces = re.sub(f"[^{SENTENCE}{TITLE}{LABEL}{VALUE}]", "", run)
        if len(pieces) > 1 and ({LABEL, TITLE} & set(pieces) or {SENTENCE, VALUE} <= set(pieces)):
            return f"a sentence of fragments: {' '.join(shown.split())!r}"
    return None


# A page that was rendered in Welsh, with every message of the catalogue between marks.

OPEN, CLOSE = "⟦", "⟧"


class _Seen(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self._depth = 0
        self._open: list[tuple[str, bool]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = {name: value or "" for name, value in attrs}
        self.outside += [held[name] for name in VISIBLE & held.keys() if held[name] and not held[name].startswith(OPEN)]
        # Names, addresses and what is the same in every language.
        kind = set(held.get("class", "").split()) & {"mono", "host", "ref"}
        if tag not in VOID:
            other = tag != "html" and "lang" in held  # the switch to it, and what is published in one language alone
            address = held.get("href", "").startswith("mailto:")
            self._open.append((tag, tag in {"bdi", "style"} or bool(kind) or other or address))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for piece in re.split(f"([{OPEN}{CLOSE}])", data):
            if piece in (OPEN, CLOSE):
                self._depth += 1 if piece == OPEN else -1
            elif self._depth == 0 and self._open[-1:] == [("title", False)]:
                self.outside += [
                    page for page in [piece.partition("–")[0].strip()] if _words(page)
                ]  # behind it: our name
            elif self._depth == 0 and not any(aside for _, aside in self._open) and _words(piece):
                self.outside.append(" ".join(piece.split()))


def outside_marks(html: str) -> list[str]:
    """Return the visible texts of a page that no message holds."""
    return _Seen(html).outside


def marked(message: str) -> str:
    return f"{OPEN}{message}{CLOSE}"


class _Marked:
    """A catalogue whose translations stand between marks; what it lacks stands without."""

    def __init__(self, catalogue: NullTranslations, known: set[str]) -> None:
        self._catalogue, self._known = catalogue, known

    def ugettext(self, message: str) -> str:
        said = self._catalogue.ugettext(message)
        return marked(said) if message in self._known else said

    def ungettext(self, singular: str, plural: str, count: int) -> str:
        return marked(self._catalogue.ungettext(singular, plural, count))


def mark_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every page in Welsh, and each of its messages between marks."""
    catalogue, known = language._catalogue, {message.id for message in messages.kept() if isinstance(message.id, str)}
    monkeypatch.setattr(Browser, "languages", language.WELSH)
    monkeypatch.setattr(language, "_catalogue", lambda: _Marked(catalogue(), known))


def read(browser: Any, path: str, status: int = 200) -> Any:
    """Return the browser, on the page that was expected, in Welsh, when everything on that page is between marks."""
    assert (browser.path, browser.status) == (path, status)
    assert browser.response.headers["Content-Language"] == language.WELSH
    assert not (found := outside_marks(browser.html)), found
    return browser
