import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_server.scheme import messages

FRAMEWORK = "https://registry.core.trust.ib1.org/trust-framework"
TOKEN = "1.AbC-_123.c2VjcmV0"
ACCEPTED = [messages.WITHDRAWAL_SUBJECT, "https://registry.example/message/other"]
GOOD = messages.withdrawal(FRAMEWORK, messages.WITHDRAWAL_SUBJECT, TOKEN)


def test_the_message_is_the_specifications():
    assert GOOD == {
        "ib1:message": FRAMEWORK,
        "subject": "https://registry.trust.ib1.org/message/withdrawal-of-permission/2025-03-16",
        "body": {"token": TOKEN},
    }


@pytest.mark.parametrize(
    "document",
    [GOOD, {**GOOD, "subject": ACCEPTED[1]}, {**GOOD, "ib1:message": "https://x.example"}, {**GOOD, "more": 1}],
    ids=["as made", "second subject", "another framework's URL", "more members"],
)
def test_parse_finds_the_token(document):
    assert messages.parse_withdrawal(json.loads(json.dumps(document)), ACCEPTED) == TOKEN


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        [GOOD],
        "text",
        {},
        {name: GOOD[name] for name in ("subject", "body")},
        {**GOOD, "ib1:message": 1},
        {**GOOD, "subject": None},
        {**GOOD, "subject": ACCEPTED},
        {**GOOD, "subject": messages.WITHDRAWAL_SUBJECT + "/"},
        {**GOOD, "subject": messages.WITHDRAWAL_SUBJECT.upper()},
        {**GOOD, "subject": "https://registry.trust.ib1.org/message/revoke"},
        {**GOOD, "body": None},
        {**GOOD, "body": TOKEN},
        {**GOOD, "body": [TOKEN]},
        {**GOOD, "body": {}},
        {**GOOD, "body": {"token": None}},
        {**GOOD, "body": {"token": [TOKEN]}},
        {**GOOD, "body": {"token": ""}},
        {**GOOD, "body": {"token": "tök"}},
        {**GOOD, "body": {"token": TOKEN + "\n"}},
        {**GOOD, "body": {"token": TOKEN + "\0"}},
        {**GOOD, "body": {"token": "\ud800"}},
        {**GOOD, "body": {"token": "x" * (messages.MAX_TOKEN + 1)}},
        {**GOOD, "body": {"refreshToken": TOKEN}},
    ],
)
def test_parse_refuses_and_keeps_the_token_to_itself(document):
    with pytest.raises(messages.MessageError) as refused:
        messages.parse_withdrawal(document, ACCEPTED)
    assert TOKEN not in str(refused.value)


def test_no_subject_configured_accepts_none():
    with pytest.raises(messages.MessageError):
        messages.parse_withdrawal(GOOD, [])


def test_one_string_configured_by_mistake_accepts_no_part_of_itself():
    with pytest.raises(messages.MessageError):
        messages.parse_withdrawal({**GOOD, "subject": "https"}, messages.WITHDRAWAL_SUBJECT)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "token", "x"]), inner),
    max_leaves=10,
)


@given(JSON)
def test_parse_raises_only_message_error(document):
    with pytest.raises(messages.MessageError):
        messages.parse_withdrawal(document, ACCEPTED)
