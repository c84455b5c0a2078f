"""Walk the SME's journeys through a running sandbox, and count what each asks of a person.

`python -m bench.journey` starts a sandbox, walks, and prints a table of the pages of each flow. Words are those in <main>
outside the legal text; a page that is looked at again while it waits counts once; a way back by hand is an address that the
person must find again by itself.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from consent_server.sandbox.browser import Browser, NotOnPage, Page
from consent_server.sandbox.client import Client
from tests.conftest import RunningSandbox, free_ports

_MOST_PAGES: Final = 30
_MOST_LOOKS: Final = 120
_LOOK_S: Final = 0.5
_SILENT: Final = ("style", "script", "datalist")
_VOID: Final = ("input", "br", "img", "meta", "link", "hr", "wbr")


class _Words(HTMLParser):
    """Counts the words in <main>, those in the legal text apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.legal: list[str] = []
        self.others: list[str] = []
        self._open: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self._open.append((tag, dict(attrs).get("id") or ""))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tags, ids = {tag for tag, _ in self._open}, {identifier for _, identifier in self._open}
        if "main" in tags and not tags & set(_SILENT):
            (self.legal if "permission-text" in ids else self.others).append(data)


@dataclass(frozen=True)
class PageCount:
    """One page as a person meets it."""

    party: str
    path: str
    heading: str
    words: int
    legal_words: int
    again: bool
    size: int
    ticks: int
    codes: int


@dataclass
class JourneyCount:
    """The pages of one journey, in order, and how often the person had to find the way by itself."""

    name: str
    pages: list[PageCount] = field(default_factory=list)
    by_hand: int = 0

    @property
    def words(self) -> int:
        return sum(page.words for page in self.pages)

    @property
    def texts(self) -> int:
        """Return how many texts are to be read: not one that the page says was read before, by its digest."""
        return sum(page.legal_words > 0 and not page.again for page in self.pages)

    @property
    def ticks(self) -> int:
        return sum(page.ticks for page in self.pages)

    @property
    def codes(self) -> int:
        return sum(page.codes for page in self.pages)

    @property
    def size(self) -> int:
        return sum(page.size for page in self.pages)

    def table(self) -> str:
        """Return a Markdown table of the pages, with the sums in its last row."""
        rows = [
            f"| {number} | {page.party} | `{page.path}` | {page.heading} | {page.words} | {page.legal_words or ''} "
            f"| {page.ticks or ''} | {page.codes or ''} | {page.size / 1000:.1f} |"
            for number, page in enumerate(self.pages, start=1)
        ]
        sums = (
            f"| {len(self.pages)} | | | by hand: {self.by_hand} | {self.words} | texts: {self.texts} "
            f"| {self.ticks} | {self.codes} | {self.size / 1000:.1f} |"
        )
        head = "| | party | path | heading | words | legal text | ticks | codes | kB |\n|---|---|---|---|---|---|---|---|---|"
        return "\n".join([head, *rows, sums])


@dataclass(frozen=True)
class Act:
    """What a person does on a page: the control that it presses, what it types and ticks before."""

    click: str
    fill: Mapping[str, str] = field(default_factory=dict)
    check: tuple[str, ...] = ()


class Person:
    """One browser on its way through the pages of a sandbox's parties, counted."""

    def __init__(self, manifest: Mapping[str, Any], sme: str, journey: str) -> None:
        self.browser = Browser(Path(manifest["trust"]["server_ca"]))
        self.count = JourneyCount(journey)
        self._hosts: dict[str, str] = {urlsplit(url).netloc: party for party, url in manifest["pages"].items()}
        self.acts = acts_of(manifest, sme)

    def walk(self, page: Page, until: str) -> Page:
        """Do on each page what is to be done there, until the path of a page begins with `until`; return that page."""
        for _ in range(_MOST_PAGES):
            act = self.acts.get((self.party_of(page), page.path or "/"))
            waited, page = page, self._ready(page, act)
            if page is not waited:
                self.met(waited)
            if page.status == 0:  # back at a client that runs no pages here
                return page
            if page.path.startswith(until) and page.status == 200:
                return self._at_the_end(page)
            if act is None or page.status != 200:
                raise NotOnPage(f"{page.url} ({page.status}) shows “{page.heading}”: nothing is known to be done there")
            self.met(page, act)
            page = self.browser.click(page, act.click, fill=act.fill, check=act.check)
        raise NotOnPage(f"more than {_MOST_PAGES} pages")

    def _ready(self, page: Page, act: Act | None) -> Page:
        """Look again, as its link says, while a page waits for somebody and has not what is to be done yet."""
        for _ in range(_MOST_LOOKS):
            if act is None or act.click in page.controls or "refresh" not in page.controls:
                break
            time.sleep(_LOOK_S)
            page = self.browser.click(page, "refresh")
        return page

    def _at_the_end(self, page: Page) -> Page:
        """Return the page once it has the figures: it looks again by itself while they are worked out."""
        self.met(page)
        for _ in range(_MOST_LOOKS):
            if "months" in page.texts:
                break
            time.sleep(_LOOK_S)
            page = self.browser.open(page.url)
            self.met(page)
        return page

    def met(self, page: Page, act: Act | None = None) -> None:
        """Count a page, with what is done on it; what a page becomes at the same address is the same page."""
        words, pages, where = _Words(page.html), self.count.pages, (self.party_of(page), page.path or "/")
        before = pages[-1] if pages and (pages[-1].party, pages[-1].path) == where else None
        if before is not None and before.heading == page.heading:
            return
        if before is not None:
            pages.pop()
        pages.append(
            PageCount(
                party=self.party_of(page),
                path=page.path or "/",
                heading=page.heading,
                words=len(" ".join(words.others).split()) + (before.words if before else 0),
                legal_words=len(" ".join(words.legal).split()),
                again="read-there" in page.texts,
                size=len(page.html.encode()),
                ticks=sum(name in page.controls for name in act.check) if act else 0,
                codes=sum(name == "code" for name in act.fill) if act else 0,
            )
        )

    def by_hand(self, url: str) -> Page:
        """Open an address that no page leads to."""
        self.count.by_hand += 1
        return self.browser.open(url)

    def party_of(self, page: Page) -> str:
        return self._hosts.get(urlsplit(page.url).netloc, "elsewhere")


def acts_of(manifest: Mapping[str, Any], sme: str) -> dict[tuple[str, str], Act]:
    """Return what an SME does on each page, by party and path: the manifest's steps, and the pages before and after them."""
    its = next(each for each in manifest["smes"] if each["name"] == sme)
    at_edp, connect = its["journey"]["edp"], its["connect"]["cap"]
    steps = [("edp", each) for each in at_edp]
    steps += [("cap", each) for each in [*connect[: -len(at_edp)], *its["journey"]["cap"]]]
    found = {(party, each["path"]): Act(each["click"], each["fill"], tuple(each["check"])) for party, each in steps}
    found["fsp", "/"] = Act("start")
    found["cap", "/"] = found["cap", "/sign-in"]
    found["cap", "/connected"] = Act("share")
    found["cap", "/result"] = Act("share")
    return found


def bank_starts(manifest: Mapping[str, Any], sme: str) -> JourneyCount:
    """Walk flow A: from a bank's invitation, with one permission under the combined license, to the figures at the bank."""
    person = Person(manifest, sme, "A: the bank starts, one permission")
    person.walk(person.browser.open(manifest["pages"]["fsp"]), "/emissions/")
    return person.count


def provider_starts(manifest: Mapping[str, Any], sme: str) -> JourneyCount:
    """Walk flow B: from the carbon accounting provider's first page, with a permission for each of the two transfers."""
    person = Person(manifest, sme, "B: the CAP starts, two permissions")
    person.walk(person.browser.open(manifest["pages"]["cap"]), "/emissions/")
    return person.count


def another_provider(manifest: Mapping[str, Any], sme: str) -> JourneyCount:
    """Walk the energy data provider's part alone, for a carbon accounting provider that does not say which bank it asks for."""
    person = Person(manifest, sme, "a CAP that is not ours")
    client = Client(manifest["clients"]["cap2"], manifest["trust"]["server_ca"])
    client.discover(manifest["issuers"]["edp"])
    request = client.push(manifest["licenses"]["one_permission"], "https://client.example/callback")
    person.walk(person.browser.open(request.url), "/callback")
    return person.count


Walk = Callable[[Mapping[str, Any], str], JourneyCount]

#: Each flow, with a business of the sandbox that nothing else is done with before.
FLOWS: Final = ((bank_starts, "gaps"), (provider_starts, "export"), (another_provider, "electricity_only"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        running = RunningSandbox(Path(folder) / "sandbox", free_ports()).wait_until_ready()
        try:
            for walk, sme in FLOWS:
                count = walk(running.manifest, sme)
                print(f"\n### {count.name}\n\n{count.table()}")
        finally:
            running.stop()


if __name__ == "__main__":
    main()
