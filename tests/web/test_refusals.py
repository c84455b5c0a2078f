"""One handler: JSON for machines, pages for people, redirects for clients; and never a trace of the inside."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from jinja2 import UndefinedError

from consent_server.refusal import Refusal, ServerFault, Unavailable, by_code, with_query
from consent_server.web.limits import Counted


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        pytest.param("GET", "/busy", 503, "temporarily_unavailable", id="refusal"),
        pytest.param("GET", "/nowhere", 404, "not_found", id="unknown path"),
        pytest.param("GET", "/form", 405, "invalid_request", id="method"),
        pytest.param("POST", "/form", 403, "access_denied", id="empty form"),
        pytest.param("GET", "/fault", 500, "server_error", id="fault"),
        pytest.param("GET", "/fault/of-itself", 500, "server_error", id="fault that is its own cause"),
    ],
)
def test_a_machine_gets_json(mutual_tls: Any, lines: Any, method: str, path: str, status: int, error: str) -> None:
    response = mutual_tls.open(path, method=method)
    assert (response.status_code, response.mimetype) == (status, "application/json")
    body = response.get_json()
    assert body["error"] == error
    assert body["error_uri"].startswith("https://localhost/errors/")
    assert body["correlation_id"] == response.headers["X-Request-Id"]
    assert "private detail" not in response.get_data(as_text=True)
    assert response.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    (line,) = lines()
    assert line["event"] in {"refused", "server_fault"}
    assert line["correlation_id"] == body["correlation_id"]


@pytest.mark.parametrize("path", ["/busy", "/nowhere", "/fault", "/limited/meters/60", "/errors/not_found", "/form"])
def test_H19_an_error_page_needs_the_settings_and_nothing_else(public: Any, path: str) -> None:
    """No Directory, no store, no session: what has failed may be any of them."""
    extensions = public.application.extensions
    good = public.get(path)
    extensions["consent_server"] = SimpleNamespace(settings=extensions["consent_server"].settings)
    del extensions["sqlalchemy"]
    bare = public.get(path)
    assert (bare.status_code, bare.mimetype) == (good.status_code, "text/html")
    assert "Meter &lt;b&gt;Data" in bare.get_data(as_text=True)
    assert bare.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert bare.headers.get("Retry-After") == good.headers.get("Retry-After")


def test_what_a_refusal_carries_travels(mutual_tls: Any, lines: Any) -> None:
    response = mutual_tls.get("/busy")
    assert response.headers["Retry-After"] == "5"
    assert response.get_json()["detail"] == [{"loc": ["from"], "msg": "no", "type": "x"}]
    assert lines()[0]["private"] == "the private detail"
    assert mutual_tls.get("/form").headers["Allow"] == "POST"
    assert mutual_tls.options("/form").status_code == 405


def test_a_person_gets_a_page_and_a_program_at_the_same_door_json(public: Any) -> None:
    page = public.get("/busy")
    assert (page.status_code, page.mimetype) == (503, "text/html")
    assert "private detail" not in page.get_data(as_text=True)
    assert "oauth-error" not in page.get_data(as_text=True)
    assert "Meter &lt;b&gt;Data" in page.get_data(as_text=True)
    assert public.get("/jwks").mimetype == "application/json"
    assert public.get("/.well-known/x").get_json()["error"] == "not_found"


def test_the_authorization_endpoint_refuses_on_a_page_with_its_own_element(public: Any) -> None:
    page = public.get("/authorize?client_id=x")
    assert page.status_code == 400
    assert page.get_data(as_text=True).count('id="oauth-error"') == 1


def test_a_redirect_goes_back_by_303_with_state_and_iss(public: Any) -> None:
    response = public.get("/authorize?request_uri=x")
    assert response.status_code == 303
    query = parse_qs(urlsplit(response.headers["Location"]).query)
    assert query["error"] == ["invalid_request_uri"]
    assert (query["state"], query["iss"], query["x"]) == (["a b&c"], ["https://localhost"], ["1"])


def test_a_fault_says_where_and_never_with_what(public: Any, caplog: Any) -> None:
    response = public.get("/fault")
    assert response.status_code == 500
    written = caplog.text + response.get_data(as_text=True)
    assert "KeyError" in written
    assert "canary-7f3a" not in written


def test_a_template_that_names_what_nobody_gave_is_a_fault_and_not_an_empty_word(public: Any) -> None:
    made = public.application.jinja_env.from_string
    assert made("{{ typed.name or 'none' }}{{ x is defined }}").render(typed={}) == "noneFalse"
    for text in ("{{ nobody }}", "{% if nobody %}{% endif %}", "{{ here.nobody }}"):
        with pytest.raises(UndefinedError):
            made(text).render(here=SimpleNamespace())


def test_every_refusal_has_its_help_page(public: Any) -> None:
    for code, refusal in Refusal.family.items():
        page = public.get(f"/errors/{code}")
        assert page.status_code == 200
        assert refusal.clause in page.get_data(as_text=True).replace("&#39;", "'")
    assert public.get("/errors/unknown").status_code == 404


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://a.example/cb", "https://a.example/cb?state=s"),
        ("https://a.example/cb?x=1", "https://a.example/cb?x=1&state=s"),
        ("https://a.example", "https://a.example?state=s"),
    ],
)
def test_parameters_are_added_behind_those_that_are_there(uri: str, expected: str) -> None:
    assert with_query(uri, {"state": "s", "code": None}) == expected


LIMITED = {
    Counted.METERS: "supply numbers",
    Counted.CODES: "wrong codes",
    Counted.PASSWORDS: "wrong passwords",
    Counted.PASSKEYS: "passkeys",
    Counted.LOG_INS: "log-ins",
    Counted.MAILS: "codes to sign in",
    Counted.INVITATIONS: "invitations",
    Counted.EVIDENCE: "evidence",
    Counted.RECEIPTS: "no receipt",
    Counted.REQUESTS: "links",
    Counted.REPORTS: "reports",
}


@pytest.mark.parametrize("counted", Counted)
def test_the_page_of_a_limit_speaks_of_what_was_limited(public: Any, counted: Counted) -> None:
    html = public.get(f"/limited/{counted}/61").get_data(as_text=True)
    assert [word for word in LIMITED.values() if word in html] == [LIMITED[counted]]
    assert ("bill at hand" in html) is (counted is Counted.METERS)


@pytest.mark.parametrize(
    ("seconds", "when"), [(1, "in 1 second."), (60, "in 60 seconds."), (61, "in 2 minutes."), (600, "in 10 minutes.")]
)
def test_a_limits_page_says_when_to_try_again(public: Any, seconds: int, when: str) -> None:
    response = public.get(f"/limited/codes/{seconds}")
    assert (response.status_code, response.headers["Retry-After"]) == (429, str(seconds))
    assert f"Please try again {when}" in response.get_data(as_text=True)


def test_a_code_that_was_kept_by_another_version_is_a_fault() -> None:
    assert by_code("temporarily_unavailable") is Unavailable
    assert by_code("known_to_the_next_version") is ServerFault
