"""Pages in Debian's Chromium, judged by axe-core and by how they fit; and their HTML, judged by html-validate.

A page is what an application answered, with its stylesheet and logo: the browser gets them from memory, without a server.
"""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

ORIGIN = "https://pages.example"
#: Characters of a page's HTML. A larger one repeats its elements, and judging it takes minutes.
LARGEST = 40_000
#: Everything that is on by default, best practice among it; and what WCAG 2.2 added, which is not.
AXE = """
axe.run({resultTypes: ["violations"], rules: {"target-size": {enabled: true}}})
  .then(found => found.violations.map(each => [each.id, each.nodes.map(node => node.html.slice(0, 120))]))
"""
#: The width of A4 in CSS pixels, less margins of 1 cm.
PAPER = 718
#: Controls are of no use on paper; what scrolls on a screen would be cut; and ink is black on white.
UNPRINTABLE = """
() => {
  const shown = selector => [...document.querySelectorAll(selector)].filter(each => each.checkVisibility());
  const found = shown("button, .button, .skip, nav").map(each => "a control: " + each.outerHTML.slice(0, 80));
  for (const each of shown(".scrolled, .picture, .picture svg, .chart svg, table")) {
    const box = each.getBoundingClientRect();
    if (each.scrollWidth > each.clientWidth + 1 && each.tagName !== "svg" || box.right > innerWidth + 1)
      found.push("cut: " + each.outerHTML.slice(0, 80));
  }
  const body = getComputedStyle(document.body);
  if (body.backgroundColor !== "rgb(255, 255, 255)" || body.color !== "rgb(0, 0, 0)") found.push("not black on white");
  for (const each of shown("main a")) if (!each.innerText.trim()) found.push("a link without words");
  return found;
}
"""
#: A business reads its figures without moving them sideways; a report as a bank gets it may be wider than a phone, but for its
#: captions.
CUT = """
() => [
  ...[...document.querySelectorAll(".bars, .scrolled:has(.months:not(.told))")]
    .filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.className),
  ...[...document.querySelectorAll(".scrolled caption span")]
    .filter(each => each.getBoundingClientRect().right > innerWidth).map(each => "caption: " + each.innerText),
]
"""
#: What is wider than its box is drawn across the edge of it.
STICKS_OUT = """
() => [...document.querySelectorAll(".option, .card, .panel, .errors, .text, button")]
  .filter(each => each.checkVisibility() && each.scrollWidth > each.clientWidth + 1)
  .map(each => each.outerHTML.slice(0, 80))
"""
#: Backgrounds are gone in forced colours, so what can be pressed or filled in must have an edge.
EDGELESS = """
() => {
  const shown = selector => [...document.querySelectorAll(selector)].filter(each => each.checkVisibility());
  return shown("button:not(.quiet), .button, input:not([type=hidden]), select").filter(each => {
    const style = getComputedStyle(each);
    return !["checkbox", "radio"].includes(each.type) && !(parseFloat(style.borderTopWidth) > 0);
  }).map(each => each.outerHTML.slice(0, 80));
}
"""


@dataclass(frozen=True)
class State:
    """A page in one state: its address (without what differs from visit to visit), its heading, and its HTML."""

    path: str
    heading: str
    html: str

    @classmethod
    def of(cls, path: str, html: str) -> "State":
        heading = re.search(r"<h1[^>]*>(.*?)</h1>", html, re.DOTALL)
        words = " ".join(re.sub("<[^>]+>", "", heading[1]).split()) if heading else "(no heading)"
        first, *rest = path.strip("/").split("/")
        random = first in {"evidence", "receipt"} and bool(rest)
        return cls(f"/{first}/…" if random else path, unescape(words), html)

    def keep(self, folder: Path) -> None:
        """Write it into the folder, unless a page in the same language with the same elements is there.

        Pages with hundreds of meters are left out. Most in Welsh are of tests that mark each message (tests/web/sentences.py).
        """
        if len(self.html) > LARGEST:
            return
        lang = re.findall(r'<html lang="[^"]*"', self.html)
        shape = [self.path, *lang, *re.findall(r'<[a-z0-9]+|(?:class|id|role|type)="[^"]*"', self.html)]
        name = hashlib.sha256("".join(dict.fromkeys(shape)).encode()).hexdigest()[:16]
        target = folder / f"{name}.json"
        if not target.exists():
            words = (re.sub("[⟦⟧]", "", each) for each in (self.path, self.heading, self.html))
            target.write_text(json.dumps([*words]), encoding="utf-8")

    @classmethod
    def kept(cls, folder: Path) -> "list[State]":
        found = (cls(*json.loads(each.read_text(encoding="utf-8"))) for each in folder.glob("*.json"))
        return sorted(found, key=lambda state: (state.path, state.heading))


@dataclass(frozen=True)
class View:
    """How a page is looked at: pixels of width, light or dark, and the size of its text in per cent."""

    width: int
    scheme: str
    text: int = 100

    def __str__(self) -> str:
        return f"{self.width} px, {self.scheme}" + (f", text at {self.text} %" if self.text != 100 else "")


VIEWS = (View(320, "light"), View(768, "dark"), View(1280, "light"), View(390, "dark", 200))


class Judge:
    """One tab, which shows states one after the other."""

    def __init__(self, tab: Any, axe: str, style: str, picture: bytes) -> None:
        self.tab = tab
        self._axe = axe
        self._shown = ""
        served: dict[str, Callable[[], dict[str, Any]]] = {
            "/": lambda: {"body": self._shown, "content_type": "text/html; charset=utf-8"},
            "/static/style.css": lambda: {"body": style, "content_type": "text/css"},
            "/logos/own": lambda: {"body": picture, "content_type": "image/svg+xml"},
        }

        def answer(route: Any) -> None:
            path = route.request.url.removeprefix(ORIGIN)
            route.fulfill(**served[path]()) if path in served else route.abort()

        tab.route("**/*", answer)

    def faults(self, state: State, views: Iterable[View]) -> list[str]:
        """Return what is wrong with a page in each view, in forced colours and on paper. It is loaded once."""
        self._shown = state.html
        self.tab.goto(f"{ORIGIN}/")
        self.tab.evaluate(self._axe)
        found = [f"{view}: {each}" for view in views for each in self._in_view(view)]
        return [*found, *self._in_forced_colours(), *self._on_paper()]

    def _look(self, view: View, **media: str) -> None:
        self.tab.set_viewport_size({"width": view.width, "height": 800})
        self.tab.emulate_media(
            **{"color_scheme": view.scheme, "reduced_motion": "reduce", "media": "screen", "forced_colors": "none"}
            | media
        )
        self.tab.evaluate("size => { document.documentElement.style.fontSize = size }", f"{view.text}%")

    def _in_view(self, view: View) -> list[str]:
        """Return violations of axe's rules, and whether the page scrolls sideways."""
        self._look(view)
        found = [f"{rule}: {'; '.join(nodes)}" for rule, nodes in self.tab.evaluate(AXE)]
        found += [f"sticks out of its box: {each}" for each in self.tab.evaluate(STICKS_OUT)]
        width, room = self.tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        if view.text == 100:
            found += [f"must be scrolled sideways: {each}" for each in self.tab.evaluate(CUT)]
        return found if width <= room else [*found, f"scrolls sideways: {width} in {room} px"]

    def _in_forced_colours(self) -> list[str]:
        self._look(View(PAPER, "dark"), forced_colors="active")
        return [f"in forced colours: {each}" for each in self.tab.evaluate(EDGELESS)]

    def _on_paper(self) -> list[str]:
        """Return what is wrong with the page as it is printed, from a screen that is dark."""
        self._look(View(PAPER, "dark"), media="print")
        return [f"on paper: {each}" for each in self.tab.evaluate(UNPRINTABLE)]


@contextmanager
def judging(chromium: Any, node_folder: Path, style: str, picture: bytes) -> Iterator[Judge]:
    """Yield a judge in a context of its own, with scripts for axe."""
    context = chromium.new_context(ignore_https_errors=True)
    axe = (node_folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    try:
        yield Judge(context.new_page(), axe, style, picture)
    finally:
        context.close()


def invalid_html(states: Iterable[State], node_folder: Path, folder: Path) -> dict[str, list[str]]:
    """Return what the HTML standard forbids, by page."""
    named = {}
    for state in states:
        name = hashlib.sha256(state.html.encode()).hexdigest()[:16] + ".html"
        named[name] = f"{state.path} {state.heading}"
        (folder / name).write_text(state.html, encoding="utf-8")
    command = [str(shutil.which("node")), "validate.mjs", str(folder)]
    ran = subprocess.run(command, cwd=node_folder, capture_output=True, text=True, check=True)
    return {named[name]: found for name, found in json.loads(ran.stdout).items()}
