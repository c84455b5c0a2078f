"""Take the pictures of docs/images from a running sandbox, with Debian's chromium: python -m scripts.screenshots

The SME's part is done through the real pages, by the steps of the manifest, on a screen of a phone's size. A few pictures stand
in the documents; besides, there is one of each state that is met (docs/images/states), and a sheet of all.
"""

import base64
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, sync_playwright

from consent_server import clock
from consent_server.sandbox.client import Client
from consent_server.sandbox.client_scenarios.table import HEADER
from consent_server.sandbox.layout import Layout
from consent_server.sandbox.walk import manifest_of
from consent_server.scheme.instant import DAY
from scripts.box import running

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
PHONE = {"width": 390, "height": 844}
SME = "normal"
CALLBACK = "https://client.example/callback"
GAP = 24
STATES = IMAGES / "states"
#: Of a state's picture, pixels; a long page is cut.
LONGEST = 3000
QUALITY = 0.6
DRAWN_MS = 2000
COLUMNS, THUMB = 10, 120
#: Whose pages differ from each other.
WALKED = ("normal", "not_ready", "several_sites", "log_in")
FRAME = f"""
body {{ margin: 0; padding: {GAP}px; display: flex; gap: {GAP}px; background: #e7eaec }}
img {{ border-radius: 18px; box-shadow: 0 2px 10px #0003 }}
"""


def take(layout: Layout, page: Page) -> None:
    """Every picture, in the order of the path."""
    manifest = manifest_of(layout)
    sme = _normal(manifest)
    cap = Client(manifest["clients"]["cap"], manifest["trust"]["server_ca"])
    cap.discover(manifest["issuers"]["edp"])
    request = cap.push(manifest["licenses"]["electricity_and_gas"], CALLBACK)
    page.goto(request.url)
    identify, permission = sme["journey"]["edp"]
    _fill(page, identify)
    _picture(page, "identify-page")
    page.click(f"#{identify['click']}")
    _fill(page, permission)
    _picture(page, "permission-page", screens=2)
    # Nobody is at the client's address: the browser need not arrive there.
    with page.expect_request(lambda asked: asked.url.startswith(CALLBACK)) as back:
        page.click(f"#{permission['click']}")
    tokens = cap.redeem(request, cap.code(request, back.value.url)).json()
    _log_in(manifest, cap, page.context.new_page())
    page = page.context.new_page()
    page.goto(cap.permission(tokens["refresh_token"]).json()["permission"]["evidence"])
    _picture(page, "evidence-page")

    steps = sme["withdraw"]["cap"]
    page.goto(manifest["pages"]["cap"] + steps[0]["path"])
    for step in steps[:2]:
        _fill(page, step)
        page.click(f"#{step['click']}")
    _picture(page, "portal-permissions")
    page.goto(f"{manifest['pages']['cap']}/result")
    _picture(page, "portal-result")

    page.goto(manifest["pages"]["fsp"])
    page.fill("#business", "Oakfield Bakery Ltd")
    page.click("#apply")
    for step in sme["journey"]["cap"]:
        _fill(page, step)
        page.click(f"#{step['click']}")
    _picture(page, "bank-emissions")
    page.goto(f"{manifest['pages']['fsp']}/portfolio")
    _picture(page, "bank-portfolio")
    _report(manifest, page)
    _client_scenarios(manifest, cap, tokens, page)


def _client_scenarios(manifest: dict[str, Any], cap: Client, tokens: dict[str, str], page: Page) -> None:
    """What a client has met on purpose: it refreshes as it should after one refusal, and does not wait after another."""
    url, authorized = (
        f"{manifest['resources']['edp']}/datasources",
        {"Authorization": f"Bearer {tokens['access_token']}"},
    )
    cap.http.get(url, headers={**authorized, HEADER: "token_expired"})
    cap.refresh(tokens["refresh_token"])
    for _ in range(2):
        cap.http.get(url, headers={**authorized, HEADER: "temporarily_unavailable"})
    page.goto(f"{manifest['control']}/clients")
    page.set_viewport_size({"width": 900, "height": 700})
    page.locator("#met").screenshot(path=IMAGES / "client-scenarios.png")


def _report(manifest: dict[str, Any], page: Page) -> None:
    """The report to the bank: its page, and its PDF as the bank verifies it, whole and with one byte changed."""
    page.goto(f"{manifest['pages']['cap']}/result")
    link = page.locator("a[href^='/report?']").first.get_attribute("href")
    page.goto(f"{manifest['pages']['cap']}{link}")
    _picture(page, "report-to-the-bank", screens=2)
    with page.expect_download() as download:
        page.click("a[href^='/report.pdf']")
    file = download.value.path().read_bytes()
    changed = file[:3000] + bytes([file[3000] ^ 1]) + file[3001:]
    for name, sent, verdict in (("verified", file, "#verdict-1"), ("refused", changed, "#refused")):
        page.goto(f"{manifest['pages']['fsp']}/report")
        page.set_input_files("#file", {"name": "report.pdf", "mimeType": "application/pdf", "buffer": sent})
        page.click("#verify")
        page.wait_for_selector(verdict)
        _picture(page, f"bank-report-{name}")


def _log_in(manifest: dict[str, Any], cap: Client, page: Page) -> None:
    """A customer of the provider: the way in, the provider's own page, and the sites to tick."""
    sme = next(each for each in manifest["smes"] if each["scenario"] == "log_in")
    page.goto(cap.push(manifest["licenses"]["electricity_and_gas"], CALLBACK).url)
    way, onward, log_in, sites, _ = sme["journey"]["edp"]
    page.click(f"#{way['click']}")
    _picture(page, "log-in-page")
    page.click(f"#{onward['click']}")
    _fill(page, log_in)
    _picture(page, "customer-page")
    page.click(f"#{log_in['click']}")
    page.wait_for_selector(f"#{sites['check'][0]}")
    _fill(page, sites)
    _picture(page, "sites-page")


def _fill(page: Page, step: dict[str, Any]) -> None:
    page.wait_for_selector(f"#{step['click']}")
    for name, value in step["fill"].items():
        if page.locator(f"#{name}").count():
            page.fill(f"#{name}", value)
    for name in step["check"]:
        page.check(f"#{name}")


def _picture(page: Page, name: str, *, screens: int = 1) -> None:
    """The top of the page as the phone shows it; with two screens, its end beside it."""
    shots = []
    for screen in range(screens):
        page.evaluate("end => window.scrollTo(0, end ? document.body.scrollHeight : 0)", screen > 0)
        shots.append(base64.b64encode(page.screenshot(animations="disabled")).decode())
    frame = page.context.new_page()
    frame.set_viewport_size(
        {"width": screens * PHONE["width"] + (screens + 1) * GAP, "height": PHONE["height"] + 2 * GAP}
    )
    phones = "".join(f'<img src="data:image/png;base64,{shot}" width="{PHONE["width"]}">' for shot in shots)
    frame.set_content(f"<style>{FRAME}</style>{phones}")
    frame.screenshot(path=IMAGES / f"{name}.png")
    frame.close()


class Album:
    """A picture of each state that is met: each page of each party by its path and heading, and with errors.

    `seen` are those that another browser has met before.
    """

    def __init__(self, manifest: dict[str, Any], context: BrowserContext, seen: dict[str, bytes]) -> None:
        self._manifest = manifest
        self._parties = {urlsplit(url).netloc: name for name, url in manifest["pages"].items()}
        self.page = context.new_page()
        self._desk = context.new_page()  # draws, and shows nothing of ours
        self.seen = seen

    def see(self, state: str = "") -> None:
        """Take a picture of the page; `state` tells it from the same page with the same heading."""
        parts = urlsplit(self.page.url)
        where = [self._parties.get(parts.netloc, "sandbox"), *re.findall(r"(?<=/)[a-z-]+(?=/|$)", parts.path)[:2]]
        heading = re.findall(r"[a-z0-9]+", self.page.locator("h1").first.inner_text().lower())
        errors = ["errors"] if self.page.locator(".errors").count() else []
        name = "-".join([*where, *heading[:4], *errors, *([state] if state else [])])
        if name not in self.seen:
            with self._frames_in_sight():
                shot = self.page.screenshot(full_page=True, animations="disabled")
            self.seen[name] = self._webp(f"data:image/png;base64,{base64.b64encode(shot).decode()}", LONGEST)
            (STATES / f"{name}.webp").write_bytes(self.seen[name])

    @contextmanager
    def _frames_in_sight(self) -> Iterator[None]:
        """Have a screen as long as the page: Chromium draws no frame of another origin that has not been in sight."""
        framed = self.page.locator("iframe").count() > 0
        if framed:
            for frame in self.page.frames:
                frame.wait_for_load_state()
            height = self.page.evaluate("document.documentElement.scrollHeight")
            self.page.set_viewport_size({"width": PHONE["width"], "height": height})
            self.page.wait_for_timeout(DRAWN_MS)
        yield
        if framed:
            self.page.set_viewport_size(PHONE)  # type: ignore[arg-type]

    def open(self, *urls: str, state: str = "") -> None:
        for url in urls:
            self.page.goto(url)
            self.see(state)

    def go(self, steps: list[dict[str, Any]]) -> None:
        """Go the steps of the manifest, without a picture."""
        for step in steps:
            _fill(self.page, step)
            self.page.click(f"#{step['click']}")
        self.page.wait_for_load_state()

    def follow(self, steps: list[dict[str, Any]]) -> None:
        """Go the steps of the manifest; where something is to be filled in, first without it."""
        for step in steps:
            self.page.wait_for_selector(f"#{step['click']}")  # while a page waits for somebody it looks again by itself
            self.see()
            if step["fill"] or step["check"]:
                before = urlsplit(self.page.url).path
                self.page.click(f"#{step['click']}")
                self.page.wait_for_load_state()
                if urlsplit(self.page.url).path == before or self.page.locator(".errors").count():
                    self.see()
                if not self.page.locator(f"#{step['click']}").count():  # no form any more
                    self.page.go_back()
            _fill(self.page, step)
            self.page.click(f"#{step['click']}")
        self.page.wait_for_load_state()

    def sheet(self) -> None:
        """Draw every picture small, its top as a phone shows it, with the name of its file."""
        height = THUMB * PHONE["height"] // PHONE["width"]
        style = (
            f"body {{ margin: 0; padding: 8px; display: grid; grid-template-columns: repeat({COLUMNS}, {THUMB}px); gap: 8px; "
            "font: 8px sans-serif; background: #e7eaec; color: #14201d } figure { margin: 0; overflow-wrap: anywhere }"
            f"img {{ display: block; width: {THUMB}px; height: {height}px; object-fit: cover; object-position: top }}"
        )
        figures = "".join(
            f'<figure><img src="data:image/webp;base64,{base64.b64encode(picture).decode()}">{name}</figure>'
            for name, picture in sorted(self.seen.items())
        )
        self._desk.set_viewport_size({"width": COLUMNS * (THUMB + 8) + 8, "height": 400})
        self._desk.set_content(f"<style>{style}</style>{figures}")
        shot = base64.b64encode(self._desk.screenshot(full_page=True)).decode()
        (IMAGES / "states.webp").write_bytes(self._webp(f"data:image/png;base64,{shot}", 20_000))

    def _webp(self, url: str, longest: int) -> bytes:
        drawn: str = self._desk.evaluate(
            """async ([url, longest, quality]) => {
              const picture = new Image();
              picture.src = url;
              await picture.decode();
              const canvas = document.createElement("canvas");
              [canvas.width, canvas.height] = [picture.width, Math.min(picture.height, longest)];
              canvas.getContext("2d").drawImage(picture, 0, 0);
              return canvas.toDataURL("image/webp", quality);
            }""",
            [url, longest, QUALITY],
        )
        return base64.b64decode(drawn.partition(",")[2])


def see_everything(manifest: dict[str, Any], album: Album) -> None:
    """Go to every state that can be met by hand: with each SME from connecting to withdrawing, and where something is wrong."""
    edp, cap, fsp = (manifest["pages"][party] for party in ("edp", "cap", "fsp"))
    page = album.page
    album.open(fsp, f"{fsp}/portfolio", cap, f"{cap}/start", f"{edp}/manage", f"{edp}/manage/log-in")
    album.open(f"{edp}/authorize", f"{edp}/nowhere", f"{edp}/errors/not_found", manifest["control"])
    known = [sme for sme in manifest["smes"] if sme["name"] in WALKED]
    for number, sme in enumerate(known):
        page.context.clear_cookies()
        album.open(cap + sme["connect"]["cap"][0]["path"])
        album.follow(sme["connect"]["cap"])
        album.see()
        _wait_for_result(page, cap)
        page.goto(fsp)
        page.fill("#business", sme["name"])
        page.click("#apply")
        album.follow(sme["journey"]["cap"])
        album.see()
        album.open(
            *(f"{cap}/{path}" for path in ("account", "connect", "connected", "result", "forecast", "permissions"))
        )
        for link in ("/permissions/record", "/permissions/receipt", "/evidence/"):
            page.goto(f"{cap}/permissions")
            if page.locator(f"a[href^='{link}']").count():
                page.locator(f"a[href^='{link}']").first.click()
                album.see()
        party, origin = (("edp", edp), ("cap", cap))[number % 2]
        *steps, last = sme["withdraw"][party]
        page.goto(origin + steps[0]["path"])
        album.follow(steps[:-1])
        for link in ("a[href^='/manage/receipt']", "#receipt"):
            if party == "edp":
                page.locator(link).first.click()
                album.see()
        page.goto(f"{origin}{steps[-1]['path']}")
        album.follow([steps[-1], last])
        album.see()
        album.open(f"{cap}/account", f"{cap}/permissions", f"{edp}/manage/permissions", fsp)


def _wait_for_result(page: Page, cap: str) -> None:
    """Wait until the readings are there, but no longer than it takes a business whose provider is not ready."""
    for _ in range(20):
        page.goto(f"{cap}/result")
        if urlsplit(page.url).path == "/result":
            return
        page.wait_for_timeout(1000)


def see_what_goes_wrong(manifest: dict[str, Any], album: Album) -> None:
    """A business that says no, goes back, loses its session, and comes back where it never was."""
    cap, steps, page = manifest["pages"]["cap"], _normal(manifest)["connect"]["cap"], album.page
    page.context.clear_cookies()
    page.goto(cap + steps[0]["path"])
    album.go(steps[:-1])
    page.wait_for_selector("#decline")
    decision = page.url
    page.click("#decline")
    page.wait_for_url(f"{cap}/connect/**")
    album.see()
    album.open(decision, f"{cap}/callback?code=c&state=s", f"{cap}/permissions/receipt?permission=%ff")
    page.context.clear_cookies()
    album.open(decision, f"{cap}/sign-in/code", f"{cap}/receipt/unknown")


def see_the_end(layout: Layout, manifest: dict[str, Any], album: Album) -> None:
    """A permission that ends soon, one that has ended, and the renewal of both."""
    cap, steps, page = manifest["pages"]["cap"], _normal(manifest)["connect"]["cap"], album.page
    page.context.clear_cookies()
    page.goto(cap + steps[0]["path"])
    album.go(steps)
    page.wait_for_url(f"{cap}/connected**")
    for days, state in ((340, "ends-soon"), (370, "ended")):
        clock.write_offset(layout.clock, days * DAY)
        page.context.clear_cookies()
        page.goto(cap + steps[0]["path"])
        album.go(steps[:2])
        album.open(*(f"{cap}/{path}" for path in ("permissions", "connect", "account")), state=state)
        page.click("#renew")
        album.see(state)
        album.go(steps[4:6])
        page.wait_for_selector("#decline")
        album.see(state)


def see_in_welsh(manifest: dict[str, Any], album: Album) -> None:
    """The way of a business from signing in to its decision, and where it withdraws."""
    edp, cap, steps = manifest["pages"]["edp"], manifest["pages"]["cap"], _normal(manifest)["connect"]["cap"]
    album.open(cap, cap + steps[0]["path"])
    album.follow(steps)
    album.see()
    album.open(f"{cap}/account", f"{cap}/permissions", f"{cap}/nowhere", f"{edp}/manage")


def _normal(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in manifest["smes"] if each["name"] == SME)
    return found


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed: scripts/debian-packages chromium")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with running() as layout, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        # The sandbox's authority is nobody's root.
        context = browser.new_context(ignore_https_errors=True, viewport=PHONE, device_scale_factor=1.5, locale="en-GB")  # type: ignore[arg-type]
        take(layout, context.new_page())
        shutil.rmtree(STATES, ignore_errors=True)
        STATES.mkdir()
        small = browser.new_context(ignore_https_errors=True, viewport=PHONE, locale="en-GB")  # type: ignore[arg-type]
        manifest = manifest_of(layout)
        album = Album(manifest, small, {})
        see_everything(manifest, album)
        see_what_goes_wrong(manifest, album)
        dark = browser.new_context(ignore_https_errors=True, viewport=PHONE, locale="cy-GB", color_scheme="dark")  # type: ignore[arg-type]
        see_in_welsh(manifest, Album(manifest, dark, album.seen))
        see_the_end(layout, manifest, album)
        album.sheet()
        browser.close()


if __name__ == "__main__":
    main()
