"""The ids of meters that clients see: one for each client, SME and meter, made once and then stable.

The ids of one client and one SME are numbered within a random series, `<series>.<number>`: tokens.data_sources says why.
"""

import secrets
from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store import locks, rows
from consent_server.store.database import reading, writing
from consent_server.store.rows import table_of
from consent_server.store.tables.permissions import MeterAlias, Permission

_alias = table_of(MeterAlias)
_permission = table_of(Permission)
_KNOWN = sa.select(_alias).where(_alias.c.client_id == sa.bindparam("client_id_"), _alias.c.sme == sa.bindparam("sme_"))
_OF_IDS = sa.select(_alias).where(_alias.c.id.in_(sa.bindparam("ids", expanding=True)))
_WITHOUT_NUMBER = _alias.c.id.not_like("%.%")


def ids_for(c: Connection, client_id: str, sme: str, meters: Sequence[str]) -> dict[str, str]:
    """Return {meter: its data source id for this client}, in the order of `meters`.

    The caller holds the lock of the business (locks.lock_business): two grants must not give one number twice.
    """
    known = _numbered(c, client_id, sme)
    new = [meter for meter in dict.fromkeys(meters) if meter not in known]
    made = dict(zip(new, _following(known.values(), len(new)), strict=True))
    if made:
        rows.add(c, *(MeterAlias(each, client_id, sme, meter) for meter, each in made.items()))
    return {meter: (known | made)[meter] for meter in meters}


def number_the_rest() -> None:
    """Number the ids that nodes of the version before made after the upgrade of the schema, each business by itself.

    Safe to repeat. Raise StoreUnavailable.
    """
    with reading() as c:
        rest = c.execute(sa.select(_alias.c.client_id, _alias.c.sme).where(_WITHOUT_NUMBER).distinct()).all()
    for client_id, sme in rest:
        with writing() as c:
            locks.lock_business(c, sme)
            _numbered(c, client_id, sme)


def _numbered(c: Connection, client_id: str, sme: str) -> dict[str, str]:
    """Return meter -> id of this client and SME. Ids without a number get one, in the permissions as well."""
    known_as = rows.every(c, MeterAlias, _KNOWN, {"client_id_": client_id, "sme_": sme})
    every = {row.meter: row.id for row in known_as}
    known = {meter: each for meter, each in every.items() if "." in each}
    rest = {each: meter for meter, each in every.items() if "." not in each}
    if not rest:
        return known
    renamed = dict(zip(rest, _following(known.values(), len(rest)), strict=True))
    for old, new in renamed.items():
        c.execute(sa.update(_alias).where(_alias.c.id == old).values(id=new))
    sources_of = sa.select(_permission.c.id, _permission.c.datasources)
    of_both = sa.and_(_permission.c.client_id == client_id, _permission.c.sme == sme)
    for permission, sources in c.execute(sources_of.where(of_both)).all():
        if any(each["id"] in renamed for each in sources):
            changed = [{**each, "id": renamed.get(each["id"], each["id"])} for each in sources]
            c.execute(sa.update(_permission).where(_permission.c.id == permission).values(datasources=changed))
    return known | {rest[old]: new for old, new in renamed.items()}


def _following(ids: Collection[str], count: int) -> list[str]:
    """Return so many ids that follow these in their series, or a new series."""
    series = next((each.partition(".")[0] for each in ids), secrets.token_urlsafe(18))
    first = max((number_of(each) for each in ids), default=-1) + 1
    return [f"{series}.{number}" for number in range(first, first + count)]


def number_of(datasource: str) -> int:
    """Return the number of an id within its series."""
    return int(datasource.rpartition(".")[2])


def find(c: Connection, ids: Iterable[str]) -> list[MeterAlias]:
    """Return meter, client and SME of each of these ids that there is."""
    return [row for batch in rows.batches(ids) for row in rows.every(c, MeterAlias, _OF_IDS, {"ids": batch})]


def meters(c: Connection, most: int) -> set[str]:
    """Return meters that clients have ids of, so many at most."""
    return set(c.scalars(sa.select(_alias.c.meter).distinct().limit(most)))
