"""`make docs`: no warning, which is what a broken link or a page without a place is, and pages that fetch nothing elsewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: What a browser fetches by itself. An `a` is followed by the reader alone.
FETCHED = {
    ("link", "href"),
    *((tag, "src") for tag in ("script", "img", "iframe", "source", "embed")),
    ("object", "data"),
}

pytestmark = pytest.mark.xdist_group("site")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    recipe = re.search(r"^docs:.*\n\t\$\(BIN\)/python (-m sphinx .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    arguments = recipe[1].replace("build/docs", str(folder)).split()
    made = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert (made.returncode, made.stderr) == (0, "")
    return folder


class Page(HTMLParser):
    """What a page fetches, and what its links and names are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if (tag, name) in FETCHED:
                self.fetched.append(value or "")
            elif (tag, name) == ("a", "href"):
                self.links.append(value or "")
            elif name == "id":
                self.names.add(value or "")


def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    found = pages(site)
    assert len(found) > 30
    fetched = [(path.name, url) for path, page in found.items() for url in page.fetched]
    assert any(url.endswith(".js") or ".js?" in url for _, url in fetched)
    assert [each for each in fetched if urlsplit(each[1]).netloc] == []
    for style in site.rglob("*.css"):
        assert (
            re.findall(r"(?:url\(|@import)\s*[\"']?\s*(?:https?:)?//[^)]*", style.read_text(encoding="utf-8")) == []
        ), style
    for script in site.rglob("*.js"):  # the texts of licenses name addresses, in comments
        code = re.sub(r"/\*.*?\*/|^\s*//.*$", "", script.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        if script.name != "searchindex.js":
            assert re.findall(r"https?://(?!www\.w3\.org/)[^\"'` ]*", code) == [], script


def test_every_link_within_leads_somewhere(site: Path) -> None:
    found = pages(site)
    for path, page in found.items():
        for link in (urlsplit(each) for each in (*page.links, *page.fetched)):
            if link.scheme or link.netloc:
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            assert target.is_file(), (path.name, link.path)
            if link.fragment and target in found:
                assert unquote(link.fragment) in found[target].names, (path.name, link)


def test_the_top_leads_to_the_pages_of_each_reader(site: Path) -> None:
    (refresh,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', (site / "index.html").read_text())
    headings = re.findall(r"<h2>(.*?)<", (site / refresh).read_text())
    assert headings == [
        "Everybody",
        "Operator",
        "EDP engineer",
        "CAP engineer",
        "Bank",
        "Auditor",
        "Certifier",
        "Contributor",
    ]


@pytest.mark.browser
def test_a_browser_asks_for_nothing_elsewhere_and_finds_a_word(site: Path, chromium: Any) -> None:
    page = chromium.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.as_uri()}/index.html")
    page.wait_for_url("**/docs/site/index.html")
    page.goto(f"{site.as_uri()}/search.html?q=withdrawal")
    page.wait_for_selector("#search-results li")
    page.close()
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
