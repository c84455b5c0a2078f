"""Pages: one layout, one stylesheet, one way to render.

The frame of a page uses only the settings, so that an error page depends on nothing else that could fail.
"""

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, make_response, render_template, request
from jinja2 import StrictUndefined, Undefined

from consent_server import audit
from consent_server.deployment import current
from consent_server.scheme import instant
from consent_server.web import headers, language, switch
from consent_server.web.language import N_

_PACKAGE = Path(__file__).resolve().parents[1]
# In the wheel the templates lie in the package; in a checkout beside it.
TEMPLATES = next(path for path in (_PACKAGE / "templates", _PACKAGE.parent / "templates") if path.is_dir())

#: The name of our own logo, at /logos.
OWN_LOGO: Final = "own"

_MONTHS = (
    *(N_("January"), N_("February"), N_("March"), N_("April"), N_("May"), N_("June"), N_("July")),
    *(N_("August"), N_("September"), N_("October"), N_("November"), N_("December")),
)
_MONTHS_IN_SHORT = (
    *(N_("Jan"), N_("Feb"), N_("Mar"), N_("Apr"), N_("May"), N_("Jun"), N_("Jul")),
    *(N_("Aug"), N_("Sep"), N_("Oct"), N_("Nov"), N_("Dec")),
)
_UNPRINTABLE = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}


class _Missing(StrictUndefined):
    """A variable that a template uses and the view did not pass: an error, and not an empty text. A mapping may lack a key."""

    def __new__(cls, *args: Any, **named: Any) -> Undefined:  # type: ignore[misc]
        return Undefined(*args, **named) if isinstance(named.get("obj"), Mapping) else super().__new__(cls)


def install(app: Flask) -> None:
    """Give `app` the templates and the filters."""
    app.template_folder = str(TEMPLATES)
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(language.gettext, language.ngettext, newstyle=True)  # type: ignore[attr-defined]
    app.jinja_env.undefined = _Missing
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= {
        "day": day,
        "month": month,
        "month_in_short": month_in_short,
        "moment": moment,
        "utc_day": utc_day,
        "plain": plain,
        # For sentences that Python code made: unlike `_`, its text is escaped, and holds no placeholders.
        "translated": language.gettext,
    }
    app.add_url_rule(switch.PATH, view_func=switch.choose, methods=["POST"])

    @app.after_request
    def _differs(response: Response) -> Response:
        if response.mimetype == "text/html":
            response.vary.update(("Accept-Language", "Cookie"))
        return response


def render(
    template: str,
    status: int = 200,
    *,
    form_targets: Iterable[str] = (),
    frames: Collection[str] = (),
    script: bool = False,
    **values: object,
) -> Response:
    """Return a page. `form_targets` are origins beside our own to which one of its forms may end up redirecting, `frames`
    the origins of what it shows in frames; `script` says that it has a static script.
    """
    settings, spoken = current().settings, language.current()
    body = render_template(
        template,
        brand=plain(settings.brand),
        logo=OWN_LOGO if settings.public.brand.logo else None,
        sandbox=settings.is_sandbox,
        contact=settings.public.contact,
        home=switch.home(),
        # An address that leads nowhere may be a guess: it is shown on no page.
        here=switch.home() if status in (404, 405) else switch.here(),
        language=spoken,
        languages=language.NAMES,
        lang=language.TAGS[spoken],
        correlation_id=audit.correlation_id.get(),
        **{"errors": (), **values},
    )
    response = make_response(body, status)
    response.headers["Content-Language"] = language.TAGS[spoken]
    response.headers["Content-Security-Policy"] = headers.page_policy(form_targets, frames, script=script)
    return response


def document(template: str, **values: object) -> str:
    """Return a page to keep as a file: complete in itself, without our frame, style and addresses."""
    spoken, named = language.current(), plain(current().settings.brand)
    return render_template(template, language=spoken, lang=language.TAGS[spoken], brand=named, **values)


def file(body: bytes | Iterable[bytes], name: str, content_type: str = "application/json") -> Response:
    """Return what a browser keeps as a file with this name."""
    response = Response(body, content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def day(at: int) -> str:
    """Return the date of an instant in the United Kingdom, such as 12 March 2026."""
    return utc_day(at + instant.uk_offset(at))


def utc_day(at: int) -> str:
    """Return the date of an instant in UTC, by which the months of figures begin and end."""
    return language.gettext("%(day)d %(month)s", day=int(instant.text(at)[8:10]), month=month(at))


def month(at: int) -> str:
    """Return a month such as March 2026."""
    year, number = instant.month(at).split("-")
    return language.gettext("%(month)s %(year)s", month=language.gettext(_MONTHS[int(number) - 1]), year=year)


def month_in_short(at: int) -> str:
    """Return a month such as Mar, for where there is no room for more."""
    return language.gettext(_MONTHS_IN_SHORT[int(instant.text(at)[5:7]) - 1])


def moment(at: int) -> str:
    """Return an instant as the clocks of the United Kingdom show it, such as 12 July 2026 at 10:30, UK time."""
    shown = at + instant.uk_offset(at)
    return language.gettext("%(day)s at %(time)s, UK time", day=utc_day(shown), time=instant.text(shown)[11:16])


def user_agent() -> str:
    """Return what the browser of this request calls itself, for evidence."""
    return plain(request.user_agent.string, 300)


def plain(text: str, longest: int = 120) -> str:
    """Return another party's text on one line, shortened, without control, bidirectional and invisible characters."""
    kept = "".join(ch for ch in text if ch.isspace() or unicodedata.category(ch) not in _UNPRINTABLE)
    line = " ".join(kept.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
