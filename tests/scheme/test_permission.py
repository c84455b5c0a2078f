import pytest

from consent_server.scheme import permission
from consent_server.scheme.permission import Act, State

EXPIRES = 1_000_000


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("act", Act)
def test_a_granted_permission_can_end_and_word_of_a_withdrawal_may_follow_its_expiry(state, act):
    if state is State.GRANTED or (state, act) == (State.EXPIRED, Act.WITHDRAW):
        assert permission.after(state, act) is not State.GRANTED
    else:
        with pytest.raises(permission.NoSuchTransition):
            permission.after(state, act)


def test_each_act_leads_to_its_own_state():
    assert permission.after(State.GRANTED, Act.SUPERSEDE) is State.SUPERSEDED
    assert permission.after(State.GRANTED, Act.EXPIRE) is State.EXPIRED
    assert permission.after(State.GRANTED, Act.WITHDRAW) is State.WITHDRAWN
    assert permission.after(State.EXPIRED, Act.WITHDRAW) is State.WITHDRAWN


@pytest.mark.parametrize(
    ("ended", "ended_as", "now", "expected"),
    [
        (None, None, 0, State.GRANTED),
        (None, None, EXPIRES - 1, State.GRANTED),
        (None, None, EXPIRES, State.EXPIRED),
        (None, None, EXPIRES + 1, State.EXPIRED),
        (500, "withdrawn", 600, State.WITHDRAWN),
        (500, "withdrawn", 499, State.WITHDRAWN),
        (500, "superseded", EXPIRES + 1, State.SUPERSEDED),
        (EXPIRES, "expired", EXPIRES - 1, State.EXPIRED),
    ],
    ids=[
        "just granted",
        "last second",
        "exactly at the end",
        "after the end",
        "withdrawn",
        "withdrawn by a node whose clock is ahead",
        "superseded, then past its end",
        "expired, then the clock steps back",
    ],
)
def test_state_at(ended, ended_as, now, expected):
    assert permission.state_at(ended, ended_as, EXPIRES, now) is expected


@pytest.mark.parametrize(
    ("state", "ended", "expected"),
    [
        (State.GRANTED, None, None),
        (State.EXPIRED, None, EXPIRES),
        (State.WITHDRAWN, 500, 500),
        (State.EXPIRED, EXPIRES, EXPIRES),
    ],
)
def test_ended_at(state, ended, expected):
    assert permission.ended_at(state, ended, EXPIRES) == expected


@pytest.mark.parametrize(
    ("ended", "ended_as"), [(500, None), (None, "withdrawn"), (500, "granted"), (500, "revoked"), (500, "")]
)
def test_a_record_that_contradicts_itself_is_an_error(ended, ended_as):
    with pytest.raises(ValueError):  # noqa: PT011
        permission.state_at(ended, ended_as, EXPIRES, 600)
