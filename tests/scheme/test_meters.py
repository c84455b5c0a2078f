import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_server.scheme import meters

# Made up; the last digit is right by the published rule
LONDON = "1212345678902"


@pytest.mark.parametrize(
    ("body", "check"),
    [("121234567890", 2), ("101234567890", 3), ("200009982025", 7), ("140000000000", 1), ("226130558816", 4)],
)
def test_mpan_check_digit(body, check):
    for digit in range(10):
        assert meters.parse_mpan(f"{body}{digit}").check_digit_ok is (digit == check)


@pytest.mark.parametrize(
    "text",
    [
        LONDON,
        "12 1234 5678 902",
        "  12-1234-5678-902\n",
        "12\u00a01234\u00a05678\u00a0902",
        "00 801 101 " + LONDON,
        "S 00 801 101 12 1234 5678 902",
        "S00801101" + LONDON,
        "s00801101" + LONDON,
        "S" + LONDON,
        "S 00 801 A10 12 1234 5678 902",
        "S00801ABC" + LONDON,
        "Supply number: S 00 801 A1B 12 1234 5678 902",
        "MPAN: " + LONDON,
        "MPAN " + LONDON + " (electricity)",
        "12\t1234\t5678\t902",
        "12\u200b1234\u200c5678\ufeff902",
        "12.1234.5678.902.",
        "12—1234—5678—902",
        "[12] [1234] [5678] [902]",
        "１２１２３４５６７８９０２",
        LONDON + "x",
        "+" + LONDON,
        "SS" + LONDON,
    ],
    ids=ascii,
)
def test_mpan_is_read_as_people_write_it(text):
    found = meters.parse_mpan(text)
    assert found == meters.SupplyNumber(LONDON, check_digit_ok=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "It is on your bill"),
        ("   ", "It is on your bill"),
        ("S", "It is on your bill"),
        ("12345", r"What you typed has 5\."),
        ("1", r"What you typed has 1\."),
        (LONDON + "1", r"What you typed has 14\."),
        ("00801101", "bottom line"),
        ("S 00 801 A10", "bottom line"),
        (LONDON[:-1] + "x", r"What you typed has 12\."),
        (LONDON.replace("1", "١"), r"What you typed has 11\."),
        ("801 A10 " + LONDON, r"What you typed has 18\."),
        ("0912345678902", "begins with 10"),
        ("1" * 100_000, r"What you typed has 100000\."),
        ("<script>", "It is on your bill"),
    ],
)
def test_mpan_errors_say_what_to_change(text, says):
    with pytest.raises(meters.MeterNumberError, match=says):
        meters.parse_mpan(text)


@pytest.mark.parametrize("distributor", [*range(10, 24), 29, 99])
def test_every_distributor_from_10_on_is_read(distributor):
    assert meters.parse_mpan(f"{distributor}00000000000").number == f"{distributor}00000000000"


@pytest.mark.parametrize("number", ["3938424403", "1234567810", "1523456710", "4911223308", "7412345608"])
def test_mprn_check_digits(number):
    assert meters.parse_mprn(number) == meters.SupplyNumber(number, check_digit_ok=True)
    for last in range(100):
        spelt = f"{number[:-2]}{last:02}"
        assert meters.parse_mprn(spelt).check_digit_ok is (spelt == number)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "39 3842 4403",
            " 3938424403 ",
            "3938-424-403",
            "MPRN: 3938424403",
            "3938\t424\u200b403.",
            "３９３８４２４４０３",
        ),
        *("M 3938424403", "Meter point reference 3938 424 403"),
    ],
    ids=ascii,
)
def test_mprn_is_read_as_people_write_it(text):
    assert meters.parse_mprn(text).number == "3938424403"


def test_short_mprns_are_read():
    assert meters.parse_mprn("123410").number == "123410"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Type a gas supply number"),
        ("12345", r"What you typed has 5\."),
        ("39384244031", r"What you typed has 11\."),
        ("abc", "It is on your bill"),
        ("E016K0123456789", r"What you typed has 13\."),
        ("9" * 5000, r"What you typed has 5000\."),
    ],
)
def test_mprn_errors_say_what_to_change(text, says):
    with pytest.raises(meters.MeterNumberError, match=says):
        meters.parse_mprn(text)


@pytest.mark.parametrize(
    ("text", "full", "outcode"),
    [
        ("SW8 1AA", "SW8 1AA", "SW8"),
        (" sw81aa ", "SW8 1AA", "SW8"),
        ("s w 8 1 a a", "SW8 1AA", "SW8"),
        ("SW1A 2AA", "SW1A 2AA", "SW1A"),
        ("w1a1hq", "W1A 1HQ", "W1A"),
        ("EC1A 1BB", "EC1A 1BB", "EC1A"),
        ("N1C4AG", "N1C 4AG", "N1C"),
        ("WC2N 5DU", "WC2N 5DU", "WC2N"),
        ("M1 1AE", "M1 1AE", "M1"),
        ("CF10 1EP", "CF10 1EP", "CF10"),
        ("S3-8ZQ.", "S3 8ZQ", "S3"),
        ("S3 8ZQ,", "S3 8ZQ", "S3"),
        ("s3\u00a08zq\t", "S3 8ZQ", "S3"),
        ("S3\u200b8ZQ\ufeff", "S3 8ZQ", "S3"),
        ("ＳＷ8 1AA", "SW8 1AA", "SW8"),
        ("B33 8TH", "B33 8TH", "B33"),
    ],
)
def test_postcodes(text, full, outcode):
    assert meters.parse_postcode(text) == meters.Postcode(full=full, outcode=outcode)


@pytest.mark.parametrize(
    "text",
    [
        *("", "SW8", "1AA", "SW8 1A", "SW8 1AAA", "SW8 1CA", "GIR 0AA", "BFPO 801"),
        *("ßW8 1AA", "S" * 100_000, "SW8 1AA SW8 1AB", "...", "\u200b"),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_not_a_postcode(text):
    with pytest.raises(meters.MeterNumberError, match="whole postcode"):
        meters.parse_postcode(text)


@pytest.mark.parametrize("text", ["BT1 5GS", "je2 3ab", "GY1 1AA", "IM1 1AA"])
def test_places_outside_great_britain(text):
    with pytest.raises(meters.MeterNumberError, match="England, Scotland and Wales"):
        meters.parse_postcode(text)


@given(st.text(max_size=60) | st.from_regex(r"[S ]?[0-9]{4,40}", fullmatch=True))
def test_errors_never_repeat_what_was_typed(text):
    typed = "".join(character for character in text if character.isdigit())
    for parse in (meters.parse_mpan, meters.parse_mprn, meters.parse_postcode):
        sentence = sentence_of(parse, text)
        assert len(typed) < 4 or typed not in sentence


def sentence_of(parse, text: str) -> str:
    try:
        parse(text)
    except meters.MeterNumberError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "value", [meters.parse_mpan(LONDON), meters.parse_mprn("3938424403"), meters.parse_postcode("SW8 1AA")]
)
def test_numbers_stay_out_of_reprs(value):
    assert not any(secret in repr(value) for secret in (LONDON, "3938424403", "1AA"))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (LONDON, "••••••••• 8902"),
        ("3938424403", "•••••• 4403"),
        ("12345", "• 2345"),
        ("1234", "••••"),
        ("1", "•"),
        ("", ""),
    ],
)
def test_masked_shows_the_last_four(number, expected):
    assert meters.masked(number) == expected
