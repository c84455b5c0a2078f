"""Headers, correlation, CSRF, cookies, limits, sessions and the text filters."""

from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request

from consent_server.web import cookies, csrf, headers, pages
from consent_server.web.sessions import LIFE_S, Sessions
from tests.database import new_database


@pytest.fixture
def stored(tmp_path: Path) -> Any:
    with new_database(f"sqlite:///{tmp_path / 'x.db'}") as app:
        yield app


@pytest.mark.parametrize("header", ["X-Request-Id", "X-Correlation-Id", "x-fapi-interaction-id"])
def test_H16_the_id_of_a_request_is_ours(public: Any, lines: Any, header: str) -> None:
    for path in ("/cookie", "/busy"):
        named = [public.get(path, headers={header: "abcdef12-3456"}).headers["X-Request-Id"] for _ in range(2)]
        assert len({*named, "abcdef12-3456"}) == 3
    assert [line["correlation_id"] for line in lines()] == named


def test_every_answer_has_the_headers(public: Any) -> None:
    for path in ("/cookie", "/busy", "/jwks", "/static/style.css"):
        answer = public.get(path)
        for name in headers.EVERYWHERE:
            assert name in answer.headers, f"{name} at {path}"
    assert "max-age" in public.get("/static/style.css").headers["Cache-Control"]


def test_a_page_policy_names_one_more_origin_and_no_inline() -> None:
    policy = headers.page_policy(("https://cap.example",))
    assert "form-action 'self' https://cap.example;" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy


@pytest.mark.parametrize(
    ("sent", "others", "status"),
    [
        pytest.param(csrf.token("secret"), {}, 200, id="ours"),
        pytest.param(csrf.token("secret"), {"Origin": "https://localhost"}, 200, id="our origin"),
        pytest.param(csrf.token("secret"), {"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 200, id="no-referrer"),
        pytest.param(csrf.token("other"), {}, 403, id="another session's"),
        pytest.param("", {}, 403, id="none"),
        pytest.param("é", {}, 403, id="not ASCII"),
        pytest.param(csrf.token("secret"), {"Origin": "null"}, 200, id="no-referrer, before Fetch Metadata"),
        pytest.param("", {"Origin": "null"}, 403, id="opaque origin without a token"),
        pytest.param(csrf.token("other"), {"Origin": "null"}, 403, id="opaque origin with another's token"),
        pytest.param(
            csrf.token("secret"), {"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 403, id="opaque and cross-site"
        ),
        pytest.param(csrf.token("secret"), {"Origin": "https://["}, 403, id="no origin at all"),
        pytest.param(csrf.token("secret"), {"Origin": "https://localhost.evil.example"}, 403, id="foreign"),
        pytest.param(csrf.token("secret"), {"Sec-Fetch-Site": "cross-site"}, 403, id="cross-site"),
        pytest.param(csrf.token("secret"), {"Sec-Fetch-Site": "none"}, 403, id="no page sent it"),
    ],
)
def test_forms_of_our_own_pages_alone(public: Any, sent: str, others: dict[str, str], status: int) -> None:
    assert public.post("/form", data={"csrf": sent}, headers=others).status_code == status


def test_the_csrf_token_says_nothing_of_the_secret() -> None:
    assert "secret" not in csrf.token("secret")
    assert csrf.token("secret") != csrf.token("secrets")


def test_cookies_are_for_this_host_alone(public: Any) -> None:
    set_cookie = public.get("/cookie").headers["Set-Cookie"]
    for attribute in ("__Host-x=value", "Secure", "HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=60"):
        assert attribute in set_cookie
    with pytest.raises(ValueError, match="__Host-"):
        cookies.set_cookie(Response(), "x", "value", 60)


def test_a_session_is_new_at_each_sign_in_and_ends_on_the_server(stored: Flask, held_at: Any) -> None:
    sessions = Sessions("manage", "__Host-edp-manage", 900)

    def signed_in(cookie: str = "") -> str:
        with stored.test_request_context(headers={"Cookie": f"__Host-edp-manage={cookie}"}):
            response = Response()
            sessions.end(request, response)
            sessions.begin(response, {"sme": "s"})
        return response.headers.getlist("Set-Cookie")[-1].partition("=")[2].partition(";")[0]

    def data(cookie: str) -> Any:
        with stored.test_request_context(headers={"Cookie": f"__Host-edp-manage={cookie}"}):
            found = sessions.current(request)
            return found and found.data

    first = signed_in()
    assert data(first) == {"sme": "s"}
    second = signed_in(first)
    assert data(first) is None
    assert data("guess") is None
    held_at(1_790_000_000 + 899)
    assert data(second) == {"sme": "s"}
    held_at(1_790_000_000 + 899 + 900)
    assert data(second) is None
    held_at(1_790_000_000)
    assert data(second) is None, "gone on the server, not only out of time"


def test_a_session_has_a_life_however_busy(stored: Flask, held_at: Any) -> None:
    sessions = Sessions("manage", "__Host-m", 900)
    with stored.test_request_context():
        response = Response()
        sessions.begin(response, {})
    cookie = response.headers["Set-Cookie"].partition(";")[0]
    for later in (*range(800, LIFE_S, 800), LIFE_S):
        held_at(1_790_000_000 + later)
        with stored.test_request_context(headers={"Cookie": cookie}):
            assert (sessions.current(request) is not None) is (later < LIFE_S)


def test_signing_out_ends_it(stored: Flask, held_at: Any) -> None:
    sessions = Sessions("manage", "__Host-m", 900)
    with stored.test_request_context():
        response = Response()
        sessions.begin(response, {"a": 1})
    cookie = response.headers["Set-Cookie"].partition(";")[0]
    with stored.test_request_context(headers={"Cookie": cookie}):
        session = sessions.current(request)
        assert session is not None
        assert session.secret not in repr(session)
        assert sessions.change(session, lambda data: data.update({"a": 2})).data == {"a": 2}
        assert sessions.current(request).data == {"a": 2}  # type: ignore[union-attr]
        sessions.end(request, response)
        assert sessions.current(request) is None


def test_words_for_instants() -> None:
    assert pages.day(1_773_307_800) == "12 March 2026"
    assert pages.moment(1_773_307_800) == "12 March 2026 at 09:30, UK time"
    assert pages.moment(1_783_807_800) == "11 July 2026 at 23:10, UK time"
    assert pages.day(1_783_810_800) == "12 July 2026", "UTC is at 23:00 of the day before"
    assert pages.utc_day(1_783_810_800) == "11 July 2026"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("Acme  Widgets\nLtd", "Acme Widgets Ltd", id="one line"),
        pytest.param("Bank\u202egnp", "Bankgnp", id="bidirectional override"),
        pytest.param("Ze\u200bro\u0000", "Zero", id="invisible"),
        pytest.param("x" * 200, "x" * 119 + "…", id="long"),
    ],
)
def test_other_peoples_names_in_one_line_of_ours(text: str, shown: str) -> None:
    assert pages.plain(text) == shown


def test_templates_are_found() -> None:
    assert (pages.TEMPLATES / "base.html").is_file()


def test_a_form_without_a_secret_is_refused_whatever_its_token(stored: Flask) -> None:
    sent = {csrf.FIELD: csrf.token("")}
    with stored.test_request_context(method="POST", data=sent), pytest.raises(csrf.CsrfRefused, match="no cookie"):
        csrf.form("")
