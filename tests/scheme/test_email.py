import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_server.scheme.email import email_address


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("office@kelham.example", "office@kelham.example"),
        (" Office@Kelham.example \n", "office@kelham.example"),
        ("o'neil+books@b-c.co.uk", "o'neil+books@b-c.co.uk"),
        ("a@bücher.example", "a@bücher.example"),
        ("a@XN--BCHER-KVA.example", "a@bücher.example"),
        ("a" * 64 + "@b.example", "a" * 64 + "@b.example"),
    ],
)
def test_one_spelling_is_kept(typed: str, address: str) -> None:
    assert email_address(typed) == address


INVISIBLE = ["\u200b", "\u200d", "\ufeff", "\u00ad", "\u202e", "\u2060", "\x00", "\x1b", "\r\n", "\U000e0041"]


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
@pytest.mark.parametrize("form", ["of{}fice@kelham.example", "office@kel{}ham.example", "office@kelham.ex{}ample"])
def test_a_character_that_cannot_be_seen_is_refused(form: str, character: str) -> None:
    assert email_address(form.format("")) is not None
    assert email_address(form.format(character)) is None


@pytest.mark.parametrize(
    "typed",
    [
        *("", "x", "a@", "@b.example", "a b@c.example", "a@b@c.example", "<a@b.example>", "Jo <a@b.example>"),
        *("a@b.example\r\nBcc: c@d.example", "a..b@c.example", ".a@c.example", "a@c.example.", "a@b_c.example"),
        *(
            '"a b"@c.example',
            "a@[127.0.0.1]",
            "a@localhost",
            "a@b",
            "a" * 65 + "@b.example",
            "a@" + "b" * 300 + ".example",
        ),
        *("a,b@c.example", "a;b@c.example", "a@b,c.example", "a@-b.example"),
    ],
)
def test_what_is_no_address(typed: str) -> None:
    assert email_address(typed) is None


@given(st.text())
def test_any_text_is_an_address_or_none(typed: str) -> None:
    email_address(typed)
    email_address(f"{typed}@kelham.example")
    email_address(f"office@{typed}.example")
