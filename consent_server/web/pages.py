"""Pages: one layout, one stylesheet, one way to render."""

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from flask import Flask, Response, current_app, make_response, render_template, send_from_directory

from consent_server.scheme import instant
from consent_server.web import correlation, headers, language

_PACKAGE = Path(__file__).resolve().parents[1]
# In the wheel the templates lie in the package; in a checkout beside it.
TEMPLATES = next(path for path in (_PACKAGE / "templates", _PACKAGE.parent / "templates") if path.is_dir())
STATIC = Path(__file__).parent / "static"
STATIC_MAX_AGE_S = 3600
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_UNPRINTABLE = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}


def install(app: Flask, *, brand: Callable[[], str], sandbox: bool = False) -> None:
    """Give `app` the templates, the stylesheet and the filters. `brand` names this party in the header of each page."""
    app.template_folder = str(TEMPLATES)
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(language.gettext, language.ngettext, newstyle=True)  # type: ignore[attr-defined]
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= {"day": day, "month": month, "moment": moment, "plain": plain}
    app.config["PAGE_BRAND"] = brand
    app.config["PAGE_SANDBOX"] = sandbox

    # Named files before Flask's own rule for /static, whichever way the application was made.
    @app.get("/static/<any('style.css', 'icon.svg'):name>")
    def look(name: str) -> Response:
        response = send_from_directory(STATIC, name)
        response.headers["Cache-Control"] = f"public, max-age={STATIC_MAX_AGE_S}"
        return response


def render(template: str, status: int = 200, *, form_targets: Iterable[str] = (), **values: object) -> Response:
    """A page. `form_targets` are origins beside our own to which one of its forms may end up redirecting."""
    body = render_template(
        template,
        brand=plain(current_app.config["PAGE_BRAND"]()),
        sandbox=current_app.config["PAGE_SANDBOX"],
        correlation_id=correlation.current(),
        **values,
    )
    response = make_response(body, status)
    response.headers["Content-Security-Policy"] = headers.page_policy(form_targets)
    return response


def day(at: int) -> str:
    """12 March 2026"""
    year, month, number = instant.text(at)[:10].split("-")
    return f"{int(number)} {_MONTHS[int(month) - 1]} {year}"


def month(at: int) -> str:
    """March 2026"""
    return day(at).split(maxsplit=1)[1]


def moment(at: int) -> str:
    """12 March 2026 at 09:30 UTC"""
    return f"{day(at)} at {instant.text(at)[11:16]} UTC"


def plain(text: str, longest: int = 120) -> str:
    """Somebody else's text, fit for one line of ours: no control, bidirectional or invisible characters, not endless."""
    kept = "".join(
        " " if ch.isspace() else ch for ch in text if ch.isspace() or unicodedata.category(ch) not in _UNPRINTABLE
    )
    line = " ".join(kept.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
