"""What falls with what: the page before a withdrawal shows it, the withdrawal does it, and a slow reading of the rule
agrees with both."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from consent_server import store
from consent_server.deployment import Deployment
from consent_server.outbound.errors import Unreachable
from consent_server.portal import withdrawing
from consent_server.scheme.permission import Act
from consent_server.store import connections, permissions
from consent_server.withdrawal.ending_with import ending_with
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.withdrawal.conftest import NOW, connection, linked, permission

ASKED = Withdrawal(by="sme", where="here", why="asked")

Links = list[tuple[str, str]]


def links(text: str) -> Links:
    """ "c>p p>q" as (support, dependent). A name that begins with c is a connection, any other a permission."""
    return [(pair.split(">")[0], pair.split(">")[1]) for pair in text.split()]


def made_up(seed: int) -> Links:
    """Links without a plan, cycles among them; the first rests on c."""
    chance = random.Random(seed)
    names = ["c", "c2", "p", "q", "r", "s", "t"]
    pairs = {("c", "p")} | {(chance.choice(names), chance.choice(names[2:])) for _ in range(chance.randrange(4, 12))}
    return sorted(pairs)


#: Name -> links, and what has ended or expired before.
CASES: dict[str, tuple[Links, set[str]]] = {
    "nothing": ([], set()),
    "a chain": (links("c>p p>q q>r"), set()),
    "two supports": (links("c>p c2>p"), set()),
    "two supports, one ended": (links("c>p c2>p"), {"c2"}),
    "a cycle below": (links("c>p p>q q>r r>p"), set()),
    "a cycle through the subject": (links("p>q q>r r>p"), set()),
    "a cycle that another holds up": (links("c>p p>q q>p c2>q"), set()),
    "a cycle whose other support has ended": (links("c>p p>q q>p c2>q"), {"c2"}),
    "a cycle that holds itself up": (links("c>p p>q q>p q>q"), set()),
    "a dependent that has ended": (links("c>p p>q"), {"p"}),
    "a diamond": (links("c>p c>q p>r q>r"), set()),
    "a diamond that another holds up on one side": (links("c>p c>q p>r q>r c2>q"), set()),
} | {f"made up {seed}": (made_up(seed), {"s"} if seed % 3 == 0 else set()) for seed in range(24)}


def rested_upon(pairs: Links, gone: set[str], subject: str) -> set[str]:
    """The rule as it is said: of what rests on the subject, by whatever way, stays what rests on something that stays."""
    living = {name for pair in pairs for name in pair} - gone
    below: set[str] = set()
    while more := {to for by, to in pairs if by in below | {subject} and to in living} - below - {subject}:
        below |= more
    staying = living - below - {subject}
    while more := {to for by, to in pairs if by in staying and to in below} - staying:
        staying |= more
    return below - staying


@pytest.fixture
def sme(deployment: Deployment) -> Deployment:
    """The Directory cannot be had, so that the portal calls each member by its URL, which ends in the row's id."""

    def unreachable(url: str) -> Any:
        raise Unreachable("connection", "directory.example")

    played: Any = deployment
    played.directory = SimpleNamespace(member=unreachable)
    return deployment


def arrange(deployment: Deployment, pairs: Links, gone: set[str]) -> str:
    """Make the rows and their links; return the subject of the withdrawal."""
    names = {"c", *gone, *(name for pair in pairs for name in pair)}
    for number, name in enumerate(sorted(names)):
        # Half of what is gone has ended, the other half has expired.
        changes = (
            {} if name not in gone else {"expires": NOW} if number % 2 else {"ended": 200, "ended_as": "withdrawn"}
        )
        if name.startswith("c"):
            connection(deployment, name, **changes)
        else:
            permission(name, **changes)
    for support, dependent in pairs:
        linked(support, dependent)
    return "p" if pairs and not any("c" in pair for pair in pairs) else "c"


#: On PostgreSQL those that were made on purpose are enough.
ON = [("sqlite", name) for name in CASES] + [("postgresql", name) for name in CASES if "cycle" in name]


@pytest.mark.parametrize(("database_url", "case"), ON, indirect=["database_url"])
def test_H22_the_page_before_a_withdrawal_and_the_withdrawal_agree(sme: Deployment, case: str) -> None:
    pairs, gone = CASES[case]
    subject = arrange(sme, pairs, gone)
    expected = rested_upon(pairs, gone, subject)
    with store.reading() as c:
        falls = withdrawing.would_end(c, "acme", subject)
    shown = [each.other.rpartition("/")[2] for each in falls or ()]
    fell = withdraw(subject, ASKED)
    assert (shown[0], set(shown[1:])) == (subject, expected)
    assert fell == shown, "each once, the subject first"
    with store.reading() as c:
        rows = {name: permissions.find(c, name) or connections.find(c, name) for name in {*gone, *sum(pairs, ())}}
    ended = {name for name, row in rows.items() if row is not None and row.ended_why is not None}
    assert ended - {subject} == expected


@pytest.mark.parametrize(("pairs", "gone"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_it_is_the_same_before_the_subject_ended_and_after(sme: Deployment, pairs: Links, gone: set[str]) -> None:
    subject = arrange(sme, pairs, gone)
    with store.writing() as c:
        before = ending_with(c, subject, NOW)
        if (row := connections.find(c, subject)) is not None:
            assert connections.end(c, row, Act.WITHDRAW, at=NOW, by="sme", why="asked")
        elif (granted := permissions.find(c, subject)) is not None:
            assert permissions.end(c, granted, Act.WITHDRAW, at=NOW, by="sme", where="here", why="asked")
        assert ending_with(c, subject, NOW) == before
    assert set(before) == rested_upon(pairs, gone, subject)
    assert all((support, dependent) in pairs for dependent, support in before.items()), "each with a support of its own"
