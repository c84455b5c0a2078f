"""A client that inspects every page it gets, for the tests of each party's pages."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from flask import Flask
from werkzeug.test import TestResponse

from consent_server.web import switch
from tests.pages.judge import State

ORIGIN = "https://localhost"


class Elements(HTMLParser):
    """A page's elements, flat: what the inspection needs."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.forms: list[dict[str, Any]] = []
        self.text_of: dict[str, str] = {}
        self._inside: list[str] = []
        self._form: dict[str, Any] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        a = {name: value or "" for name, value in attrs}
        self.found.append((tag, a))
        if tag == "form":
            self._form = {"action": a.get("action", ""), "method": a.get("method", "get"), "fields": {}, "buttons": []}
            self.forms.append(self._form)
        if self._form is not None and tag == "input" and a.get("type") != "checkbox":
            self._form["fields"][a["name"]] = a.get("value", "")
        if self._form is not None and tag in {"button", "input"}:
            self._form["buttons"].append(a)
        if "id" in a:
            self._inside.append(a["id"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    def ids(self) -> list[str]:
        return [a["id"] for _, a in self.found if "id" in a]


TOKEN_SHAPED = re.compile(r"eyJ[A-Za-z0-9_-]+\.|\b\d+\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}")

#: What no address has as it is, and what the text of an object has.
UNENCODED = re.compile(r"[\s'\"<>()\[\]{}]")

#: Where tests/pages has every page that tests see kept, to be judged in a real browser.
KEPT = os.environ.get("KEEP_PAGES")


def inspect(response: TestResponse) -> None:
    """What holds for every page that we show."""
    html = response.get_data(as_text=True)
    page = Elements(html)
    if KEPT:
        State.of(response.request.path, html).keep(Path(KEPT))
    ids = page.ids()
    assert [tag for tag, _ in page.found].count("h1") == 1
    assert len(ids) == len(set(ids)), "an id stands twice"
    labelled = {a.get("for") for tag, a in page.found if tag == "label"}
    for tag, a in page.found:
        assert tag not in {"object", "embed", "base"}
        assert tag != "script" or a == {"src": "/static/passkeys.js", "defer": ""}
        assert not any(name.startswith("on") or name == "style" for name in a), f"inline code on {tag}"
        for name in ("src", "href") if tag in {"link", "img", "source"} else ("src",):
            assert tag == "iframe" or a.get(name, "/").startswith("/"), f"{tag} fetches {a[name]}"
        if tag == "input" and a.get("type") != "hidden":
            assert a["id"] in labelled, f"{a['id']} has no label"
        for name in ("href", "src", "action"):
            assert not UNENCODED.search(a.get(name, "")), f"{tag} leads to {a[name]}"
        if tag == "a" and a.get("href", "").startswith("#"):
            assert a["href"][1:] in ids, f"{a['href']} leads nowhere"
        for described in a.get("aria-describedby", "").split():
            assert described in ids
    for form in page.forms:
        keeps_nothing = form["method"] == "get" or form["action"] == switch.PATH
        assert keeps_nothing or form["fields"].get("csrf"), "a form without CSRF token"
        assert form["action"].startswith("/")
    assert "&lt;a href" not in html, "markup that was escaped"
    assert not TOKEN_SHAPED.search(html)
    assert "<title>" in html
    assert "lang=" in html
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "Cookie" in response.headers["Vary"]
    assert response.headers["X-Request-Id"] in html
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'")
    assert "unsafe" not in policy
    assert ("script-src 'self'" in policy) == ("script" in [tag for tag, _ in page.found])
    assert policy.count("script-src") <= 1
    inspect_frames(response, page, policy)


def inspect_frames(response: TestResponse, page: Elements, policy: str) -> None:
    """One page shows another's page in a frame, an inert one, and its policy names that origin; no page but one is framed."""
    path = response.request.path
    frames = [a for tag, a in page.found if tag == "iframe"]
    assert len(frames) <= (path == "/permissions/record")
    for a in frames:
        assert a.keys() == {"class", "src", "title", "sandbox", "referrerpolicy"}
        assert a["sandbox"] == "allow-same-origin", "no script, form, window, navigation or download"
        assert a["title"]
        assert a["src"] in [link.get("href") for tag, link in page.found if tag == "a"], "no link beside the frame"
    origins = ["https://" + urlsplit(a["src"]).netloc for a in frames]
    named = [each.split() for each in policy.split("; ") if each.startswith("frame-src ")]
    assert named == ([["frame-src", *origins]] if origins else [])
    framed = "frame-ancestors https:" in policy
    assert framed <= path.startswith("/evidence/")
    if not framed:
        assert "frame-ancestors 'none'" in policy
        assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers.get("Cross-Origin-Opener-Policy", "") == ("" if framed else "same-origin")


class Browser:
    """A client that inspects every page it gets, and fills forms by the ids of their controls."""

    #: What it prefers, as Accept-Language.
    languages = ""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client = app.test_client()
        if self.languages:
            self.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = self.languages
        self.cookie = ""
        self.response: TestResponse = None  # type: ignore[assignment]

    @property
    def html(self) -> str:
        return self.response.get_data(as_text=True)

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def path(self) -> str:
        return self.response.request.path

    @property
    def page(self) -> Elements:
        return Elements(self.html)

    @property
    def location(self) -> str:
        return self.response.headers.get("Location", "")

    @property
    def landed(self) -> dict[str, str]:
        """The query of the redirect that left us."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.location).query).items()}

    def open(self, path: str, **kwargs: Any) -> "Browser":
        return self._follow(self._send("GET", path, **kwargs))

    def post(self, path: str, data: dict[str, str], follow: bool = True, **kwargs: Any) -> "Browser":
        response = self._send("POST", path, data=data, **kwargs)
        if follow:
            return self._follow(response)
        self.response = response
        return self

    def form_of(self, button: str, **typed: str) -> tuple[str, dict[str, str], str]:
        """Action, fields and method of the form with this button, as a browser would send it."""
        for form in self.page.forms:
            for control in form["buttons"]:
                if control.get("id") == button:
                    fields = {**form["fields"], **typed}
                    if control.get("name"):
                        fields[control["name"]] = control.get("value", "")
                    return form["action"], fields, form["method"]
        raise AssertionError(f"no button {button} on {self.path}: {self.page.ids()}")

    def click(self, button: str, **typed: str) -> "Browser":
        action, fields, method = self.form_of(button, **typed)
        return self.post(action, fields) if method == "post" else self.open(f"{action}?{urlencode(fields)}")

    def secret(self) -> str:
        cookie = self.client.get_cookie(self.cookie, domain="localhost")
        assert cookie is not None
        return cookie.value

    def _send(self, method: str, path: str, **kwargs: Any) -> TestResponse:
        # Each request in an application context of its own, as a server has it, also where a test holds one open.
        with self.app.app_context():
            return self.client.open(path, method=method, base_url=ORIGIN, **kwargs)

    def _follow(self, response: TestResponse) -> "Browser":
        while response.status_code == 303 and response.headers["Location"].startswith("/"):
            response = self._send("GET", response.headers["Location"])
        self.response = response
        if response.mimetype == "text/html" and response.status_code not in {302, 303, 307, 308}:
            inspect(response)
        return self
