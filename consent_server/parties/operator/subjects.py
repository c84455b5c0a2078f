"""Requests of a business about itself: what is held, an export of it, and its deletion.

The operator names the business by name, address, meter or permission, and has verified who asks. Results are shown as ids and
numbers of rows; names, addresses and readings are only in the export.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import orjson

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.journey import held as held_by_edp
from consent_server.metering import sources
from consent_server.metering.own import OwnRegister
from consent_server.metering.readings import ReadingsRequest
from consent_server.parties.operator import records
from consent_server.parties.operator.records import CommandFailed
from consent_server.portal import held as held_by_cap
from consent_server.receipts.held import HeldFact, HeldPart, as_json, facts, meter
from consent_server.scheme import deletion
from consent_server.scheme.deletion import CertifiedDeletion, ErasedRows, KeptRows
from consent_server.scheme.email import email_address
from consent_server.scheme.instant import DAY, HALF_HOUR, months_later
from consent_server.scheme.meters import MeterNumberError, parse_mpan, parse_mprn, parse_postcode
from consent_server.scheme.readings import join
from consent_server.store import accounts, audit_events, links, locks, permissions, receipt_addresses, subjects
from consent_server.store.digests import new_id
from consent_server.store.subjects import SubjectIds, SubjectRows
from consent_server.store.tables.accounts import SmeAccount
from consent_server.web import language, pages
from consent_server.web.language import N_

#: Table -> the duty by which its rows stay.
_DUTIES: Final = {
    **dict.fromkeys(
        ("permission", "connection", "evidence", "link", "outbox", "owed_mail", "datasource"),
        "Permission Records: the record and its evidence stay after the end of a permission",
    ),
    "audit_event": "to prove what was done: ids alone, append-only",
    "meter": "the operator's own register, with its readings: its duty as a supplier",
}


#: The message where no business has the name that was given.
NOTHING_HELD: Final = (
    "nothing is held of such a business: --business takes its whole name; look by meter or permission as well"
)
_DATA: Final = "what-we-hold.json"
#: The longest window for which readings are asked at once.
_WINDOW_S: Final = 366 * DAY


class SubjectQuery(NamedTuple):
    """By what a business is named: a name, an address of e-mail, a postcode, a meter's number, a permission, or its id here."""

    business: str | None = None
    email: str | None = None
    postcode: str | None = None
    meter: str | None = None
    permission: str | None = None
    subject: str | None = None


class ErasurePlan(NamedTuple):
    """What an erasure would do now: what it withdraws, the rows that go, and those that stay."""

    withdraws: Sequence[str]
    goes: Sequence[tuple[str, int]]
    stays: Sequence[KeptRows]


def find(query: SubjectQuery) -> list[str]:
    """Return the ids of the businesses that a query names, none or several. Raise CommandFailed for what names none here."""
    named = [name for name, value in query._asdict().items() if value]
    if not named or (len(named) > 1 and set(named) != {"meter", "postcode"}):
        raise CommandFailed("name one of --business, --email, --postcode, --meter, --permission or --subject")
    with store.reading() as c:
        if query.subject:
            found = subjects.known(c, query.subject)
        elif query.permission:
            found = subjects.of_record(c, query.permission)
        elif query.business:
            found = subjects.named(c, query.business)
        elif query.email:
            email = email_address(query.email)
            if email is None:
                raise CommandFailed("--email: write an address such as name@example.com")
            found = subjects.with_email(c, email)
    if query.meter or query.postcode:
        found = _at_meter(query.meter, query.postcode)
    return sorted(found)


def _at_meter(typed: str | None, typed_postcode: str | None) -> set[str]:
    """Numbers and postcodes are in the register alone: what else is kept of a meter has its last four digits."""
    if current().settings.party == "cap":
        raise CommandFailed(
            "a CAP is told no meter number and no postcode: name the business, its e-mail or a permission"
        )
    try:
        postcode = parse_postcode(typed_postcode).full if typed_postcode else None
        # An MPAN core has 13 digits and an MPRN at most 10.
        digits = sum(each.isdigit() for each in typed or "")
        number = (parse_mpan if digits > 10 else parse_mprn)(typed).number if typed else None
    except MeterNumberError as error:
        raise CommandFailed(str(error)) from None
    register = sources.register()
    if isinstance(register, OwnRegister):
        with store.reading() as c:
            return subjects.at_meter(c, number, postcode)
    if number is None or postcode is None:
        raise CommandFailed("the register is not our own table, and is asked for both: name --meter and --postcode")
    is_mpan = len(number) > 10
    found = register.find(postcode, number if is_mpan else None, None if is_mpan else number, clock.now())
    return set() if found is None else {found.sme}


def one(query: SubjectQuery) -> str:
    """Return the one business that a query names. Raise CommandFailed."""
    found = find(query)
    if not found:
        raise CommandFailed(NOTHING_HELD)
    if len(found) > 1:
        raise CommandFailed(f"several businesses are meant: name one by --subject: {', '.join(found)}")
    return found[0]


def plan(business: str) -> ErasurePlan:
    """Return what an erasure would do."""
    at = clock.now()
    with store.reading() as c:
        ids = subjects.ids_of(c, business)
        every = subjects.rows_of(ids, business)
        goes = [(part.table, number) for part in every if part.goes and (number := subjects.count(c, part))]
        return ErasurePlan(_live(c, ids, at), goes, _kept(c, every, ids, at))


def _live(c: store.Connection, ids: SubjectIds, at: int) -> list[str]:
    rows = [links.find(c, each) for each in (*ids.permissions, *ids.connections)]
    return [row.id for row in rows if row is not None and row.is_live(at)]


def _kept(c: store.Connection, every: Sequence[SubjectRows], ids: SubjectIds, at: int) -> list[KeptRows]:
    """What is live counts as ended at `at`, which is when an erasure ends it."""
    kept = current().settings.retention
    ends = [
        min(row.expires, at) if row.ended is None else row.ended
        for each in (*ids.permissions, *ids.connections)
        if (row := links.find(c, each)) is not None
    ]
    untils = {"meter": None, "audit_event": at + kept.audit_days * DAY}
    records_until = months_later(max(ends), kept.records_months) if ends else None
    return [
        KeptRows(part.table, number, _DUTIES[part.table], untils.get(part.table, records_until))
        for part in every
        if not part.goes and (number := subjects.count(c, part))
    ]


def erase(business: str, by: str) -> str:
    """Withdraw what is live, delete what no duty keeps, and return the id of the signed certificate; all in one transaction.

    Raise CommandFailed, Unavailable and SigningCertificateNotValid; nothing is erased then.
    """
    by = records.reason_of(by, "say who you are")
    at, certificate = clock.now(), new_id()
    signer, mac = current().valid_signer(at), current().sealer.mac
    signer.key.require()  # before the transaction: an HSM that does not answer holds up nobody who writes
    # Counted before: events are many, and on SQLite every other writer waits for the transaction.
    events = [row for row in plan(business).stays if row.table == "audit_event"]
    with store.together(), store.writing() as c:
        locks.lock_business(c, business)
        ids = subjects.ids_of(c, business)
        every = [part for part in subjects.rows_of(ids, business) if part.table != "audit_event"]
        going = [part for part in every if part.goes]
        # Before the withdrawal, which deletes what was collected.
        erased = [
            ErasedRows(part.table, number, mac(f"erased\n{subjects.digest(c, part)}"))
            for part in going
            if (number := subjects.count(c, part))
        ]
        withdrawn: list[str] = []
        for each in _live(c, ids, at):
            if each not in withdrawn:  # it may have ended with another
                withdrawn += records.withdraw_as_operator(each, "the business asked for its erasure")
        for part in going:
            subjects.erase(c, part, business, ids)
        made = CertifiedDeletion(certificate, at, by, withdrawn, erased, [*_kept(c, every, ids, at), *events])
        signed = deletion.certificate(made, signer)
        subjects.keep_certificate(c, certificate, at, signed)
        number = sum(row.rows for row in erased)
        kept = {"certificate": certificate, "certificate_sha256": hashlib.sha256(as_file(signed)).hexdigest(), "by": by}
        audit_events.keep(c, audit.event("subject_erased", withdrawn=withdrawn, rows=number, **kept))
    store.empty_log()  # where others are in its way, retention does it within the hour
    return certificate


def certificate(certificate_id: str) -> bytes:
    """Return a certificate as a file. Raise CommandFailed for an unknown one."""
    with store.reading() as c:
        found = subjects.certificate(c, certificate_id)
    if found is None:
        raise CommandFailed("there is no such certificate: its number is in the audit event subject_erased")
    return as_file(found)


def as_file(signed: Mapping[str, str]) -> bytes:
    """Return a signed document as the bytes of a file, of which the audit trail has the SHA-256."""
    return json.dumps(dict(signed), indent=1, sort_keys=True).encode() + b"\n"


def export(business: str, folder: Path) -> None:
    """Write everything that is held of a business to a new folder: a page to read, and the same with all readings as JSON.

    Only the one who runs the command can read them.
    """
    at = clock.now()
    with language.speaking(language.ENGLISH):
        parts, pieces = _of_cap(business, at) if current().settings.party == "cap" else _of_edp(business, at)
        page = pages.document("held.html", parts=parts, file=_DATA)
        folder.mkdir(mode=0o700)
        try:
            with _private(folder / _DATA) as file:
                file.writelines(pieces)
            with _private(folder / "index.html") as file:
                file.write(page.encode())
        except BaseException:
            shutil.rmtree(folder)  # half an export would be taken for a whole one
            raise


def _private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _of_cap(business: str, at: int) -> tuple[list[HeldPart], Iterator[bytes]]:
    with store.reading() as c:
        # Of a business that was erased, its permissions and connections stay.
        account = accounts.find(c, business) or SmeAccount(business, email="", business="", created=0)
    return held_by_cap.of_account(account, at), held_by_cap.as_json(account, at)


def _of_edp(business: str, at: int) -> tuple[list[HeldPart], Iterator[bytes]]:
    with store.reading() as c:
        name = subjects.business_name(c, business)
        ids = [row.id for row in permissions.of_sme(c, business)]
        to = [_receipts_of(each, email) for each in ids if (email := receipt_addresses.find(c, each)) is not None]
    # Not on the business's own page: a bill opens that, and is no proof that somebody may know the address.
    addresses = HeldPart("addresses", N_("Addresses for receipts"), to)
    parts = [*held_by_edp.of_business(business, name, at), addresses]
    first = orjson.dumps(as_json(parts))[:-1] + b',"readings":['
    return parts, chain([first], _readings(business, at), [b"]}"])


def _receipts_of(permission: str, email: str) -> list[HeldFact]:
    return facts(("permission", N_("Permission"), permission), ("email", N_("E-mail address"), email))


def _readings(business: str, at: int) -> Iterator[bytes]:
    """Yield the half-hours of the business's meters, for as long as they were its own, as the data API has them."""
    with store.reading() as c:
        known = {meter["id"] for row in permissions.of_sme(c, business) for meter in row.meters}
    register, readings = sources.register(), sources.readings()
    meters = {each.meter: each for each in register.sites(business, at)}
    meters |= register.tenancies(business, known)
    begin = readings.begin(meters.keys())
    comma = b""
    for each in meters.values():
        start, end = each.clamp(begin.get(each.meter, at), at // HALF_HOUR * HALF_HOUR)
        for measure in each.measures:
            for first in range(start, end, _WINDOW_S):
                window = ReadingsRequest(
                    each.meter, each.fuel, measure, first, min(first + _WINDOW_S, end), account="", expires=at
                )
                found = readings.half_hours(window)
                if found.retry_after is not None:
                    raise CommandFailed(f"readings are still being collected: try again in {found.retry_after} s")
                body = join(found.blocks)
                about = {"meter": meter(each.as_kept("")), "measure": measure}
                yield comma + orjson.dumps(about)[:-1] + b',"halfHours":' + body + b"}"
                comma = b","
