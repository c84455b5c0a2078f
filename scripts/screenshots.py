"""Take the pictures of docs/images from a running sandbox, with Debian's chromium: python -m scripts.screenshots

The SME's part is done through the real pages, by the steps of the manifest, on a screen of a phone's size.
"""

import base64
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from consent_server.sandbox.client import Client
from consent_server.sandbox.layout import Layout
from consent_server.sandbox.walk import manifest_of
from scripts.box import running

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
PHONE = {"width": 390, "height": 844}
SME = "normal"
CALLBACK = "https://client.example/callback"
GAP = 24
FRAME = f"""
body {{ margin: 0; padding: {GAP}px; display: flex; gap: {GAP}px; background: #e7eaec }}
img {{ border-radius: 18px; box-shadow: 0 2px 10px #0003 }}
"""


def take(layout: Layout, page: Page) -> None:
    """Every picture, in the order of the path."""
    manifest = manifest_of(layout)
    sme = next(each for each in manifest["smes"] if each["name"] == SME)
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


def _report(manifest: dict[str, Any], page: Page) -> None:
    """The report to the bank: its page, and its PDF as the bank verifies it, whole and with one byte changed."""
    page.goto(f"{manifest['pages']['cap']}/result")
    link = page.locator("a[href^='/report?']").first.get_attribute("href")
    page.goto(f"{manifest['pages']['cap']}{link}")
    _picture(page, "report-to-the-bank", screens=2)
    with page.expect_download() as download:
        page.click("a[href^='/report.pdf']")
    file = download.value.path().read_bytes()
    for name, sent in (("verified", file), ("refused", file[:3000] + bytes([file[3000] ^ 1]) + file[3001:])):
        page.goto(f"{manifest['pages']['fsp']}/report")
        page.set_input_files("#file", {"name": "report.pdf", "mimeType": "application/pdf", "buffer": sent})
        page.click("#verify")
        page.wait_for_selector(f"#{name}")
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
        browser.close()


if __name__ == "__main__":
    main()
