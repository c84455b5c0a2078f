"""Strict parameters: what an honest client sends is read, everything else is refused by name (B08, B09, B10, F05)."""

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from consent_server.web import parameters
from consent_server.web.parameters import (
    BODY_LIMIT,
    FORM,
    BodyTooLarge,
    MalformedParameters,
    MissingParameter,
    NotAForm,
    ParameterInQuery,
    ParameterTooLong,
    RepeatedParameter,
    TooManyParameters,
)


def posted(body: bytes, *, query: str = "", content_type: str = FORM, **headers: str) -> Request:
    builder = EnvironBuilder("/par", method="POST", input_stream=None, data=body, query_string=query)
    builder.content_type = content_type
    for name, value in headers.items():
        builder.headers[name.replace("_", "-")] = value
    return Request(builder.get_environ())


def read(request: Request) -> dict[str, str]:
    return parameters.form(request, required=("scope",), optional=("state",))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"scope=a&state=b", {"scope": "a", "state": "b"}, id="plain"),
        pytest.param(b"scope=a+b%2Bc&state=%C3%A9", {"scope": "a b+c", "state": "é"}, id="encoded"),
        pytest.param(b"scope=a&state=", {"scope": "a"}, id="empty counts as absent"),
        pytest.param(b"scope=a&other=1", {"scope": "a"}, id="unknown ignored"),
        pytest.param(b"scope=a&state=" + b"x" * 1000, {"scope": "a", "state": "x" * 1000}, id="thousand characters"),
        pytest.param(b"scope=';DROP TABLE--&state={{7*7}}".replace(b" ", b"+"),
                     {"scope": "';DROP TABLE--", "state": "{{7*7}}"}, id="SQL and template text are text"),
    ],
)  # fmt: skip
def test_honest_forms(body: bytes, expected: dict[str, str]) -> None:
    assert read(posted(body)) == expected


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        pytest.param(posted(b"scope=a&scope=a"), RepeatedParameter, id="doubled"),
        pytest.param(posted(b"scope=a&x=1&x=2"), RepeatedParameter, id="unknown one doubled"),
        pytest.param(posted(b"scope=a&scop%65=b"), RepeatedParameter, id="doubled in another spelling"),
        pytest.param(posted(b"state=b"), MissingParameter, id="missing"),
        pytest.param(posted(b"scope="), MissingParameter, id="empty"),
        pytest.param(posted(b"scope=a", query="scope=a"), ParameterInQuery, id="in the query too"),
        pytest.param(posted(b"scope=a", query="anything=1"), ParameterInQuery, id="any query"),
        pytest.param(posted(b"scope=a%00"), MalformedParameters, id="NUL"),
        pytest.param(posted(b"scope=a%0D%0ASet-Cookie:x"), MalformedParameters, id="CR LF"),
        pytest.param(posted(b"scope=%zz"), MalformedParameters, id="bad percent"),
        pytest.param(posted(b"scope=%2"), MalformedParameters, id="cut percent"),
        pytest.param(posted(b"scope=%ff"), MalformedParameters, id="not UTF-8"),
        pytest.param(posted(b"scope=%ed%a0%80"), MalformedParameters, id="lone surrogate"),
        pytest.param(posted("scope=é".encode()), MalformedParameters, id="raw UTF-8"),
        pytest.param(posted("scope=a".encode("utf-16")), MalformedParameters, id="UTF-16"),
        pytest.param(posted(b'{"scope":"a"}', content_type="application/json"), NotAForm, id="JSON"),
        pytest.param(posted(b"--x", content_type="multipart/form-data; boundary=x"), NotAForm, id="multipart"),
        pytest.param(posted(b"scope=a", content_type=""), NotAForm, id="no type"),
        pytest.param(posted(b"scope=a", content_type=FORM + "; charset=utf-16"), NotAForm, id="charset"),
        pytest.param(posted(b"scope=a", Content_Encoding="gzip"), NotAForm, id="compressed"),
        pytest.param(posted(b"scope=a&state=" + b"x" * BODY_LIMIT), BodyTooLarge, id="large body"),
        pytest.param(posted(b"scope=a&state=" + b"x" * 9000), ParameterTooLong, id="long value"),
        pytest.param(posted(b"&".join(b"f%d=1" % i for i in range(10_000))[:60_000]), TooManyParameters, id="many"),
    ],
)
def test_refused_forms(request_: Request, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        read(request_)


def test_a_body_without_length_is_still_limited() -> None:
    request = posted(b"scope=" + b"x" * (BODY_LIMIT + 1))
    request.environ.pop("CONTENT_LENGTH")
    request.environ["wsgi.input_terminated"] = True
    with pytest.raises(BodyTooLarge):
        read(request)


def test_query_reads_get_parameters_and_a_page_may_name_its_journey() -> None:
    request = posted(b"scope=a", query="journey=j1")
    assert parameters.query(request, required=("journey",)) == {"journey": "j1"}
    assert parameters.form(request, required=("scope",), beside=("journey",)) == {"scope": "a"}


def test_the_missing_parameter_is_named() -> None:
    with pytest.raises(MissingParameter) as refused:
        read(posted(b"state=b"))
    assert refused.value.sentence == "The parameter scope is missing."
