"""The headers of every response, and the content security policy of each kind of page.

Two pages have weaker policies: the evidence page, which carbon accounting providers show in a frame and which has no form, no
script and no cookie; and the portal's page that shows another party's evidence in a frame, for whose origin alone its policy
makes an exception.
"""

from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from flask import Flask, Response

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# Not in the sandbox: a browser that trusts its authority would require https of everything else on localhost.
TRANSPORT = {"Strict-Transport-Security": "max-age=63072000; includeSubDomains"}
# A logo, also when it is opened by itself: nothing but its own style.
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; sandbox"
MACHINE_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def page_policy(form_targets: Iterable[str] = (), frames: Collection[str] = (), *, script: bool = False) -> str:
    """Return the policy of a page. `form_targets` are origins to which a form of this page may end up redirecting, `frames`
    those of pages that it shows in frames; `script` says that it has one of our static scripts.

    Chromium applies form-action to the whole redirect chain, so the client's origin must be named: FAPI 2.0 has the
    authorization response as a redirect. Nothing else is named.
    """
    targets = " ".join(("'self'", *form_targets))
    framed = " ".join(("frame-src", *frames)) + "; " if frames else ""
    scripts = "script-src 'self'; " if script else ""
    return (
        f"default-src 'none'; style-src 'self'; img-src 'self'; {scripts}{framed}"
        f"form-action {targets}; frame-ancestors 'none'; base-uri 'none'"
    )


def origin_of(url: str) -> str:
    """Return scheme://host[:port] of a URL that was checked when it was pushed."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def frame_anywhere(response: Response) -> Response:
    """Allow https pages to show this page in a frame, and forbid forms on it. For evidence alone."""
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; "
        "frame-ancestors https:; base-uri 'none'; sandbox allow-same-origin allow-popups"
    )
    response.headers["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers.pop("X-Frame-Options", None)
    return response


def install(app: Flask, *, sandbox: bool = False) -> None:
    """Add to each response of `app` the headers that its view has not set itself."""
    everywhere = EVERYWHERE if sandbox else EVERYWHERE | TRANSPORT

    @app.after_request
    def _headers(response: Response) -> Response:
        headers = response.headers
        present = {name.lower() for name in headers.keys()}  # noqa: SIM118 - headers are pairs
        is_page = response.mimetype == "text/html"
        # Every name is looked for once: each look-up of werkzeug's goes through all headers.
        for name, value in everywhere.items():
            if name.lower() not in present:
                headers.add(name, value)
        if "content-security-policy" not in present:
            headers.add("Content-Security-Policy", page_policy() if is_page else MACHINE_POLICY)
        if "frame-ancestors 'none'" in headers["Content-Security-Policy"]:
            headers["X-Frame-Options"] = "DENY"
        if is_page:
            response.vary.update(("Accept-Language", "Cookie"))
        return response
