"""The parts of a divided report, verified together: they are all parts of one, and add up to what they say."""

from collections.abc import Callable
from typing import Any

import pytest

from consent_server.documents import data, parts, verify
from consent_server.documents.data import ReportData
from consent_server.documents.verify import NotGenuine
from tests.documents import sample
from tests.documents.sample import NOW

Parts = list[ReportData]


def changed(part: ReportData, **values: Any) -> ReportData:
    return part.model_copy(update=values)


def with_more(part: ReportData) -> ReportData:
    """The part says, and so does its whole, that more gas was used in all."""
    assert part.part_of is not None
    electricity, gas = part.part_of.totals
    more = gas.model_copy(update={"kilograms": gas.kilograms + 1})
    return changed(part, part_of=part.part_of.model_copy(update={"totals": (electricity, more)}))


def test_all_parts_in_any_order_are_one_report() -> None:
    found = sample.parts_data()
    assert [*parts.misfits(found)] == []
    assert not [fault for part in found for fault in data.faults(part)]
    whole = found[0].part_of
    assert whole is not None
    assert whole.totals == sample.report_data().totals


@pytest.mark.parametrize(
    ("change", "why"),
    {
        "one is missing": (lambda one, other: [one], "a part is missing"),
        "twice the same": (lambda one, other: [one, one, other], "a month is in two of them"),
        "of another permission": (
            lambda one, other: [
                one,
                changed(other, permission=one.permission.model_copy(update={"account": "another"})),
            ],
            "they are of different reports",
        ),
        "of another business": (
            lambda one, other: [one, changed(other, about=one.about.model_copy(update={"id": "other"}))],
            "they are of different reports",
        ),
        "of another bank": (
            lambda one, other: [one, changed(other, to=one.to.model_copy(update={"url": "https://another"}))],
            "they are of different reports",
        ),
        "by another rule": (lambda one, other: [one, changed(other, factor_rule="calendar-year")], "different reports"),
        "gaps filled in one": (lambda one, other: [one, changed(other, fill_gaps=True)], "different reports"),
        "made of other readings": (lambda one, other: [one, with_more(other)], "the figures have changed"),
        "not their sum": (lambda one, other: [with_more(one), with_more(other)], "they do not add up"),
        "a whole report": (lambda one, other: [one, sample.report_data()], "not the parts of one report"),
        "two whole reports": (lambda one, other: [sample.report_data()] * 2, "not the parts of one report"),
    }.values(),
)
def test_what_is_not_all_parts_of_one_report(change: Callable[..., Parts], why: str) -> None:
    assert any(why in fault for fault in parts.misfits(change(*sample.parts_data())))


def test_a_part_lies_in_its_whole_and_is_less() -> None:
    one, other = sample.parts_data()
    assert one.part_of is not None
    for start, end in ((one.start, one.end), (other.start, other.end), (one.start, "2025-09-01T00:00:00Z")):
        part = changed(one, part_of=one.part_of.model_copy(update={"start": start, "end": end}))
        assert "it is not a part of what it says that it is a part of" in data.faults(part), (start, end)


def test_a_total_of_all_parts_is_there_once_for_each_fuel() -> None:
    part = sample.parts_data()[0]
    assert part.part_of is not None
    electricity, _ = part.part_of.totals
    twice = part.part_of.model_copy(update={"totals": (electricity, electricity)})
    assert "it names the total of a fuel twice" in data.faults(changed(part, part_of=twice))


def test_files_are_verified_each_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "verify_apart", verify.verify)  # test_verify has the process that it is done in
    one, other = sample.parts()
    found = parts.verify_together([other, one], sample.trusted(), NOW + 60)
    assert [each.data for each in found] == sample.parts_data()
    with pytest.raises(NotGenuine) as refused:
        parts.verify_together([one, other + b"more"], sample.trusted(), NOW + 60)
    assert {(fault.check, fault.why[:7]) for fault in refused.value.faults} == {("coverage", "file 2:")}
    with pytest.raises(NotGenuine) as refused:
        parts.verify_together([one] * 13, sample.trusted(), NOW + 60)
    assert [fault.check for fault in refused.value.faults] == ["parts"]
