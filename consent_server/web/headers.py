"""The headers of every response, and the content security policy of each kind of page.

Two pages have weaker policies: the evidence page, which carbon accounting providers show in a frame and which has no form, no
script and no cookie; and the portal's page that shows another party's evidence in a frame, for whose origin alone its policy
makes an exception.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response

from consent_server import audit
from consent_server.web import correlation
from consent_server.web.tally import Application

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
_NOT_FRAMED = ("X-Frame-Options", "DENY")
# Of a page that is not framed: whoever opened it in a window can neither steer that window nor count its frames. A picture has
# `sandbox` in its policy, which browsers need not open with this (HTML, "create navigation params by fetching").
OPENER = "Cross-Origin-Opener-Policy"
_NOT_STEERED = (OPENER, "same-origin")
MACHINE_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

#: What is added to a response to a program, word for word.
WORD_FOR_WORD = frozenset({*(EVERYWHERE | TRANSPORT).items(), ("Content-Security-Policy", MACHINE_POLICY), _NOT_FRAMED})


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
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return not_indexed(response)


def not_indexed(response: Response) -> Response:
    """Ask search engines to leave a page out whose address is secret."""
    response.headers["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    return response


def install(app: Flask, *, sandbox: bool) -> None:
    """Add to each response of `app` the headers that its view has not set itself, and the id of its request."""
    everywhere = EVERYWHERE if sandbox else EVERYWHERE | TRANSPORT
    app.wsgi_app = _completed(app.wsgi_app, everywhere)  # type: ignore[method-assign, assignment]


def _completed(application: Application, everywhere: Mapping[str, str]) -> Application:
    # On the finished list: each look-up of werkzeug's, and each addition, would go through all headers.
    always = [(name.lower(), (name, value)) for name, value in everywhere.items()]
    not_framed, not_steered = ("x-frame-options", _NOT_FRAMED), (OPENER.lower(), _NOT_STEERED)
    of_documents = [*always, ("content-security-policy", ("Content-Security-Policy", MACHINE_POLICY)), not_framed]

    def completed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            present = {name.lower(): value for name, value in headers}
            policy = present.get("content-security-policy")
            wanted = of_documents
            if policy or present.get("content-type", "").startswith("text/html"):
                policy = policy or page_policy()
                wanted = [*always, ("content-security-policy", ("Content-Security-Policy", policy))]
                if "frame-ancestors 'none'" in policy:
                    wanted += (not_framed, not_steered)
            added = [header for name, header in wanted if name not in present]
            return start_response(status, [*headers, *added, (correlation.HEADER, audit.correlation_id.get())], *more)

        return application(environ, start)

    return completed
