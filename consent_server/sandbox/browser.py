"""A minimal browser: real pages over real TLS, forms filled by the ids of their controls, no JavaScript.

It does what an SME's browser does with a page of ours: follow redirects from service to service, keep each host's cookies,
send a form with its hidden fields, and nothing that is not on the page.
"""

import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

_VOID = {"input", "br", "img", "meta", "link", "hr"}
_MOST_REDIRECTS = 12
_MOST_LOOKS = 60
_LOOK_S = 0.5
#: Where pages wait for somebody's server.
_WAITING = ("/connect/", "/journey/", "/manage/")


class NotOnPage(AssertionError):
    """The page has no such control; the message says which page and what it shows instead."""


@dataclass
class Form:
    method: str
    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Control:
    """A form control or a link: where it leads, and what it adds to its form."""

    tag: str
    attributes: dict[str, str]
    form: Form | None


class Page(HTMLParser):
    """A parsed page: its heading, its text by element id, and its controls by id."""

    def __init__(self, url: str, status: int, html: str) -> None:
        super().__init__()
        self.url, self.status, self.html = url, status, html
        self.controls: dict[str, Control] = {}
        self.texts: dict[str, str] = {}
        self.heading = ""
        self._form: Form | None = None
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        identifier = attributes.get("id")
        if tag == "form":
            self._form = Form(attributes.get("method", "get").lower(), urljoin(self.url, attributes.get("action", "")))
        if tag in {"input", "button", "select", "textarea", "a"} and identifier:
            self.controls[identifier] = Control(tag, attributes, self._form)
        if tag == "input" and self._form is not None and attributes.get("name"):
            kind = attributes.get("type", "text")
            chosen = kind not in {"checkbox", "radio", "submit", "button"} or "checked" in attributes
            if chosen:
                self._form.fields.append(
                    (attributes["name"], attributes.get("value", "on" if kind == "checkbox" else ""))
                )
        if tag not in _VOID:
            self._open.append((tag, identifier))

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            opened, _ = self._open.pop()
            if opened == tag:
                break
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        if any(tag == "h1" for tag, _ in self._open):
            self.heading = " ".join(f"{self.heading} {data}".split())
        for _, identifier in self._open:
            if identifier:
                self.texts[identifier] = self.texts.get(identifier, "") + data

    def control(self, identifier: str) -> Control:
        if identifier not in self.controls:
            raise NotOnPage(
                f"{self.url} ({self.status}, “{self.heading}”) has no {identifier}; it has {', '.join(self.controls) or 'none'}"
            )
        return self.controls[identifier]


class Browser:
    """One browser. `roots` is the PEM of the server root; cookies are kept for the host, whatever its port.

    A redirect to a URL that begins with `stops_at` is not followed: the page that comes back has that URL and nothing in it,
    as when a client takes its callback.
    """

    def __init__(self, roots: Path, stops_at: str = "https://client.example/") -> None:
        self._stops_at = stops_at
        self._client = httpx.Client(
            verify=ssl.create_default_context(cafile=str(roots)),
            timeout=30.0,
            trust_env=False,
            headers={"User-Agent": "Mozilla/5.0 (consent-server sandbox walk)", "Accept": "text/html"},
        )

    def close(self) -> None:
        self._client.close()

    def open(self, url: str) -> Page:
        return self._go("GET", url, None, None)

    def click(
        self, page: Page, identifier: str, *, fill: Mapping[str, str] | None = None, check: Iterable[str] = ()
    ) -> Page:
        """Fill, tick and click controls by their ids; an id to fill or tick that is not on the page is skipped."""
        control = page.control(identifier)
        if control.tag == "a":
            return self.open(urljoin(page.url, control.attributes["href"]))
        if control.form is None:
            raise NotOnPage(f"{page.url}: {identifier} is in no form")
        fields = dict(control.form.fields)
        for name, value in (fill or {}).items():
            if name in page.controls:
                fields[page.controls[name].attributes["name"]] = value
        for name in check:
            if name in page.controls:
                attributes = page.controls[name].attributes
                fields[attributes["name"]] = attributes.get("value", "on")
        if control.attributes.get("name"):
            fields[control.attributes["name"]] = control.attributes.get("value", "")
        action = (
            urljoin(page.url, control.attributes["formaction"])
            if "formaction" in control.attributes
            else control.form.action
        )
        if control.form.method == "get":
            return self.open(f"{action}?{urlencode(fields)}")
        return self._go("POST", action, fields, page.url)

    def _go(self, method: str, url: str, fields: Mapping[str, str] | None, referrer: str | None) -> Page:
        for _ in range(_MOST_REDIRECTS):
            if url.startswith(self._stops_at):
                return Page(url, 0, "")
            headers = {}
            if referrer is not None:
                parts, target = urlsplit(referrer), urlsplit(url)
                same = (parts.scheme, parts.netloc) == (target.scheme, target.netloc)
                headers = {
                    "Origin": f"{parts.scheme}://{parts.netloc}",
                    "Sec-Fetch-Site": "same-origin" if same else "same-site",
                }
            content: dict[str, Any] = {"data": dict(fields)} if fields is not None else {}
            answer = self._client.request(method, url, headers=headers, follow_redirects=False, **content)
            if answer.status_code not in {301, 302, 303, 307, 308}:
                return Page(str(answer.url), answer.status_code, answer.text)
            url, method, fields, referrer = urljoin(url, answer.headers["location"]), "GET", None, None
        raise AssertionError(f"more than {_MOST_REDIRECTS} redirects, the last to {urlsplit(url).path}")


def follow(browser: Browser, page: Page, steps: list[dict[str, Any]]) -> Page:
    """Do the manifest's steps from `page` on; return the page that the last one leads to. Raise NotOnPage."""
    for step in steps:
        page = _when_ready(browser, page, step["click"])
        if page.path != step["path"]:
            raise NotOnPage(f"expected {step['path']}, but {page.url} ({page.status}) shows “{page.heading}”")
        page = browser.click(page, step["click"], fill=step["fill"], check=step["check"])
    return _when_ready(browser, page, "")


def _when_ready(browser: Browser, page: Page, control: str) -> Page:
    """Look again, as its link says, while a page waits for a provider and does not have the control of the next step yet."""
    for _ in range(_MOST_LOOKS):
        waits = page.path.startswith(_WAITING) and "refresh" in page.controls and control not in page.controls
        if not waits:
            break
        time.sleep(_LOOK_S)
        page = browser.click(page, "refresh")
    return page
