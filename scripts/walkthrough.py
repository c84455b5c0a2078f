"""Write docs/walkthrough.md: the sandbox's walk with its real requests and answers: python -m scripts.walkthrough

Tokens, codes, cookies, meter numbers and everything else that is random or secret is masked. Ports are written as those of
a sandbox on its default ports.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import httpx
import orjson

from consent_server.sandbox.browser import Page
from consent_server.sandbox.client import claims
from consent_server.sandbox.layout import Layout
from consent_server.sandbox.walk import walk
from scripts.box import running

PAGE = Path(__file__).resolve().parents[1] / "docs" / "walkthrough.md"
DEFAULT_PORT = 8440
MASK = "…"
DOORS = {0: "trust services", 1: "EDP", 2: "EDP", 3: "CAP", 4: "CAP", 5: "FSP", 6: "FSP"}
MUTUAL_TLS = {2, 4, 6}

#: Names of form fields, query parameters and members of JSON whose values are never written down.
SECRET = {
    *("code", "code_verifier", "code_challenge", "refresh_token", "access_token", "token", "state", "request_uri"),
    *("csrf", "journey", "postcode", "mpan", "mprn", "email", "sub", "jti", "account", "correlation_id", "id", "text"),
    *("idx", "series", "text_sha256", "kid", "x", "y", "shown", "permission", "login_hint", "covers"),
}
HEADERS = ("content-type", "location", "retry-after", "www-authenticate", "cache-control", "set-cookie")
MOST_ITEMS = 2
#: A long segment of a path that is not words: an evidence page's address, a data source, …
RANDOM_SEGMENT = re.compile(r"(?<=/)(?=[a-z%~-]*[A-Z0-9_])[A-Za-z0-9_%~-]{20,}(?![A-Za-z0-9_%~-])")

INTRODUCTION = """<!-- Made by `python -m scripts.walkthrough`; change the code, not this page. -->

# Walk-through

What goes over the wire when a business gives permission, data flows, and the business takes its permission back: every
request and answer of `consent-server sandbox up --walk`, in order, as a real run made them. Tokens, codes, identifiers and
meter numbers are masked (`…`), long lists are cut, and a question that was asked again and again until its answer
changed is shown once. Pages are shown by their heading and the ids of their controls.

Ports: 8440 trust services (Directory, Registry), 8441 and 8442 the EDP, 8443 and 8444 the CAP, 8445 and 8446 the bank. The even
ones but 8440 ask for a client certificate.
"""


@dataclass
class Story:
    """The walk as it is told, with what went over the wire in between. `say` is the walk's own."""

    layout: Layout
    lines: list[str] = field(default_factory=list)
    previous: str = ""

    def say(self, told: str) -> None:
        text = told.strip()
        if re.match(r"\d+\. ", text):
            self.lines += ["", f"## {text}", ""]
        elif text.startswith("- "):
            seconds = re.sub(r"\b\d+\.\d+ s\b", f"{MASK} s", text[2:])
            self.lines += ["", f"> **Proved:** {self.plain(seconds)}", ""]
        else:
            self.lines += ["", self.plain(text)]

    def exchange(self, request: httpx.Request, answer: httpx.Response) -> None:
        asked = f"{request.method} {request.url} {answer.status_code}"
        if asked != self.previous:
            self.lines += ["", *self._request(request), *self._answer(request, answer)]
        self.previous = asked

    def plain(self, text: str) -> str:
        """Default ports instead of this run's, and no instant or random segment that would differ in another run."""
        for service in range(len(DOORS)):
            text = text.replace(f"localhost:{self.layout.base_port + service}", f"localhost:{DEFAULT_PORT + service}")
        text = re.sub(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", "<instant>", text)
        return RANDOM_SEGMENT.sub(MASK, text)

    def _request(self, request: httpx.Request) -> list[str]:
        url = urlsplit(str(request.url))
        service = (url.port or 0) - self.layout.base_port
        who = f"{DOORS[service]}{', mutual TLS' if service in MUTUAL_TLS else ''}"
        lines = [f"**{request.method} {self.plain(url.path or '/')}** ({who})", "", "```http"]
        lines.append(self.plain(f"{request.method} {_url(str(request.url))}"))
        if "authorization" in request.headers:
            lines.append(f"Authorization: Bearer {MASK}")
        if "cookie" in request.headers:
            lines.append(f"Cookie: {_cookies(request.headers['cookie'])}")
        body = request.read().decode()
        if body:
            lines.append("Content-Type: " + request.headers["content-type"])
            lines.append("")
            pairs = parse_qsl(body, keep_blank_values=True)
            lines += [self.plain(f"{name}={MASK if name in SECRET else value}") for name, value in pairs]
        return [*lines, "```", ""]

    def _answer(self, request: httpx.Request, answer: httpx.Response) -> list[str]:
        lines = ["```http", f"HTTP {answer.status_code}"]
        for name in HEADERS:
            if name in answer.headers:
                value = answer.headers[name]
                value = _cookies(value) if name == "set-cookie" else _url(value) if name == "location" else value
                lines.append(self.plain(f"{name.title()}: {value}"))
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if kind == "text/html" and not answer.is_redirect:
            page = Page(str(request.url), answer.status_code, answer.text)
            lines += ["", f"page “{page.heading}”", f"controls: {', '.join(page.controls) or 'none'}"]
        elif kind.endswith("json"):
            document = orjson.loads(answer.content)
            lines += ["", self.plain(_json(_masked(document)))]
            if isinstance(document, dict) and "access_token" in document:
                says = self.plain(_json(_masked(claims(document["access_token"]))))
                return [*lines, "```", "", "What the access token says:", "", "```json", says, "```"]
        return [*lines, "```"]


def _url(url: str) -> str:
    """A URL whose secret query parameters are masked."""
    parts = urlsplit(url)
    if not parts.query:
        return url
    pairs = [f"{name}={MASK if name in SECRET else value}" for name, value in parse_qsl(parts.query)]
    return parts._replace(query="&".join(pairs)).geturl()


def _cookies(header: str) -> str:
    masked = re.sub(r"(__Host-[a-z]+-?[a-z]*)[^=;]*=[^;]+", rf"\1{MASK}={MASK}", header)
    return re.sub(r"Expires=[^;]+", f"Expires={MASK}", masked)


def _masked(value: Any, name: str = "") -> Any:
    """JSON without secrets, with long lists cut and provenance named rather than shown."""
    if name in SECRET and not isinstance(value, dict) and not str(value).startswith("https://"):
        return MASK
    if name == "provenance" and isinstance(value, dict):
        return f"<signed record of {len(value.get('steps', []))} steps>"
    if name == "evidence":
        return RANDOM_SEGMENT.sub(MASK, str(value))
    if name in {"iat", "exp", "granted", "expires"} and isinstance(value, int):
        return "<seconds since 1970>"
    if isinstance(value, float) or (name == "value" and isinstance(value, int)):
        return "<number>"
    if isinstance(value, dict):
        return {key: _masked(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        cut = [_masked(inner) for inner in value[:MOST_ITEMS]]
        kept = [_masked(inner) for inner in value] if all(isinstance(inner, str) for inner in value) else cut
        return kept if len(kept) == len(value) else [*kept, f"{len(value) - len(kept)} more"]
    return value


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def tell(layout: Layout) -> str:
    """Walk a running sandbox; answers the page. Raises AssertionError when the walk does not hold."""
    story = Story(layout)
    send = httpx.Client.send

    def recorded(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        answer = send(client, request, **options)
        answer.read()
        story.exchange(request, answer)
        return answer

    with mock.patch.object(httpx.Client, "send", recorded):
        walk(layout, story.say)
    return re.sub(r"\n{3,}", "\n\n", INTRODUCTION + "\n".join(story.lines)) + "\n"


def skeleton(page: str) -> list[list[str]]:
    """What must be the same in every run: for each step its title, and each request with the status of its answer.

    Each once: how often something is asked until its answer changes depends on the machine.
    """
    steps = []
    for step in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        calls = re.findall(r"^\*\*(.*?)\*\*.*?^HTTP (\d+)$", step, re.MULTILINE | re.DOTALL)
        steps.append(list(dict.fromkeys([step.partition("\n")[0], *(f"{call} {status}" for call, status in calls)])))
    return steps


def main() -> None:
    with running() as layout:
        page = tell(layout)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
