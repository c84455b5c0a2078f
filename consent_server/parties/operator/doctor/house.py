"""What is our own: keys, database, mail."""

from collections.abc import Iterator

from consent_server import store
from consent_server.metering import contract, sources
from consent_server.metering.register import Register
from consent_server.metering.rows import RowRegister
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.log_in import LogInProvider
from consent_server.parties.operator import keyring
from consent_server.parties.operator.doctor.finding import Finding, doubtful, either, failing, fine
from consent_server.parties.operator.doctor.outside import Outside
from consent_server.readiness import APART_S, LIVE_S, WORK_LIVE_S, fingerprints
from consent_server.refusal import Refusal
from consent_server.scheme.instant import text
from consent_server.settings import BadSettings, Settings
from consent_server.store import data_sources, job_runs, nodes, rights, withdrawal_journal
from consent_server.store.database import DatabaseMissing, opened, require_file
from consent_server.store.schema import state
from consent_server.tokens.keys import KeysMissing, KeysUnusable, SigningKeys
from consent_server.tokens.keyset import differences
from consent_server.tokens.refresh_token import RefreshKeys
from consent_server.tokens.sealing import BadSealingKey, Sealer

_DIFFER = {
    "behind": "it uses a {kind} key that is not here",
    "ahead": "it lacks a {kind} key that is here, or uses an older one",
    "apart": "its {kind} keys are others than those here",
}
#: Meters that are looked up for a second business, and meters that one finding names.
_MOST_LOOKED_UP = 50_000
_NAMED = 10
_MAKE = "run `consent-server keys make`, or restore the back-up"
_CORRECT = "correct that: new keys are no help"


def keys(settings: Settings, at: int) -> Iterator[Finding]:
    """Examine the secrets that `consent-server keys make` makes."""
    usable = True
    for name, read, path in (
        ("token signing keys", SigningKeys, settings.keys.tokens),
        ("refresh-token keys", RefreshKeys, settings.keys.refresh),
    ):
        try:
            read(path)
        except KeysUnusable as error:
            usable = False
            yield failing(f"{name}: {error}", _MAKE if isinstance(error, KeysMissing) else _CORRECT)
    for key in keyring.held(settings, at) if usable else ():
        if key.state == "in use":
            yield fine(f"{key.kind} key {key.name} is in use")
    try:
        Sealer.from_file(settings.keys.sealing)
    except (BadSealingKey, OSError) as error:
        yield failing(f"sealing key: {error}", _MAKE)
    else:
        yield fine("sealing key")


def database(settings: Settings, at: int) -> Iterator[Finding]:
    """Examine the database: reachable, migrated, writable; and what jobs and other nodes have left there."""
    try:
        require_file(settings.database)
    except DatabaseMissing as error:
        what, _, todo = str(error).partition(": ")
        yield failing(f"database: {what}", todo)
        return
    with opened(settings.database):
        try:
            store.ping()
        except Refusal as refusal:
            yield failing(f"database: {refusal.private}", "start it, and look at database.url")
            return
        yield fine("database: answers")
        current = state() != "behind"
        todo = "run `consent-server db upgrade`"
        yield either(current, "database: newest schema", todo, "database: not the newest schema")
        if current:
            yield from _rights()
            yield from _jobs(at)
            yield from _nodes(settings, at)


def _rights() -> Iterator[Finding]:
    """Examine whether our role may write, and whether it could change the audit trail."""
    if closed := rights.closed():
        yield failing(
            f"database: our role may not use {', '.join(closed)}",
            "grant it SELECT, INSERT, UPDATE and DELETE on tables and USAGE on sequences: docs/operator.md, Database",
        )
        return
    try:
        rights.require_writable()
        yield fine("database: can be written")
    except Refusal as refusal:
        yield failing(f"database: cannot be written: {refusal.private}", "look at its disk, locks and permissions")
    if rights.owns_trail():
        yield doubtful(
            "database: our role owns the audit trail, and could remove what protects it",
            "let another role own the tables: docs/operator.md, Database",
        )


def _jobs(at: int) -> Iterator[Finding]:
    """Examine what the jobs have recorded of themselves."""
    with store.reading() as c:
        runs = job_runs.last(c)
    if not runs:
        yield doubtful("jobs: none has ever run", "start `consent-server work`")
        return
    newest = max(run.at for run in runs.values())
    yield either(
        at - newest <= WORK_LIVE_S, "jobs: running", "start `consent-server work`", f"jobs: none since {text(newest)}"
    )
    for run in runs.values():
        if not run.ok:
            last = f"last success {text(run.succeeded)}" if run.succeeded else "it never succeeded"
            yield doubtful(
                f"job {run.job}: failed at {text(run.at)} ({run.error}), {last}", "look at the log of `work`"
            )


def _nodes(settings: Settings, at: int) -> Iterator[Finding]:
    """Compare our keys with those that the running nodes have said they use."""
    keys = settings.keys
    try:
        ours = fingerprints(SigningKeys(keys.tokens), RefreshKeys(keys.refresh), Sealer.from_file(keys.sealing))
    except (KeysUnusable, BadSealingKey):
        return  # `keys` has said so
    with store.reading() as c:
        others = nodes.seen_since(c, at - LIVE_S)
    for other in others:
        differing = differences(ours, other.keys, at)
        for kind, how in differing.items():
            yield failing(
                f"node {other.name}: {_DIFFER[how].format(kind=kind)}", "copy the key directories to every node"
            )
        if other.seen - at > APART_S:
            yield failing(f"node {other.name}: its clock is {other.seen - at} s ahead", "synchronise the clocks (NTP)")
        if not differing:
            yield fine(f"node {other.name}: the same keys")


def journal(settings: Settings) -> Iterator[Finding]:
    """Examine the journal of withdrawals: a withdrawal that cannot be written there is refused."""
    path = settings.database.withdrawal_journal
    if path is None:
        yield doubtful(
            "withdrawal journal: none",
            "set database.withdrawal_journal: a back-up would revive what was withdrawn after it",
        )
        return
    writable = withdrawal_journal.is_writable(path)
    yield either(
        writable,
        "withdrawal journal: can be written",
        f"make {path.parent}, for the server's user to write to",
        f"withdrawal journal: {path} cannot be written",
    )


def metering(settings: Settings, at: int) -> Iterator[Finding]:
    """Call the meter register and the readings of an EDP, as far as that needs nobody's meter."""
    if settings.party != "edp":
        return
    try:
        register, readings = sources.register_of(settings.metering), sources.readings_of(settings.metering)
    except BadSettings as error:
        yield failing(str(error), "docs/metering.md says what a plug-in must have")
        return
    sample = contract.Sample(register, readings, at=at, logs_in=settings.has_log_in)
    try:
        with opened(settings.database):
            store.ping()
            faults = [verdict for verdict in contract.verdicts(sample) if verdict.fault]
    except (DatabaseMissing, Refusal):
        return  # `database` says so
    for verdict in faults:
        yield failing(f"metering: {verdict.fault}", f"it should be so: {verdict.right}")
    if not faults:
        yield fine(f"metering: {settings.metering.register_source} and {settings.metering.readings_source} respond")
        yield from _disputed(settings, register)


def _disputed(settings: Settings, register: Register) -> Iterator[Finding]:
    """Name the meters that a register of rows gives to two businesses at once, of those whose ids clients have."""
    if not isinstance(register, RowRegister):
        return
    try:
        with opened(settings.database), store.reading() as c:
            known = data_sources.meters(c, _MOST_LOOKED_UP)
    except (DatabaseMissing, Refusal):
        return  # `database` says so
    if len(known) == _MOST_LOOKED_UP:
        yield doubtful(
            f"metering: {len(known)} meters were looked up for a second business, and no others",
            "look in the register itself for other tenancies that overlap",
        )
    if found := register.disputed(known):
        named = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
        yield failing(
            f"metering: two businesses have the same meter at once: {named}",
            "end the earlier tenancy in the register: until then neither business's client gets that time",
        )


def log_in(settings: Settings, outside: Outside) -> Iterator[Finding]:
    """Examine the log-in of an EDP's customers, where it has one: our key or secret there, and the provider's documents."""
    if not settings.has_log_in:
        return
    try:
        provider = LogInProvider(settings.login, outside.session, MemoryCache())
    except BadSettings as error:
        yield failing(str(error), "put the key or the secret there that the provider knows us by")
        return
    yield fine("login: our key or secret")
    try:
        provider.examine()
    except Unreachable as error:
        yield failing(f"login: {error}", "compare login.issuer with the provider's own, and look whether it is up")
    else:
        yield fine(f"login: {settings.login.issuer} responds and has keys for what we accept")


def mail(settings: Settings, outside: Outside, test_to: str) -> Iterator[Finding]:
    """Examine the mail relay, which a CAP cannot do without: it sends sign-in codes. Send a test to `test_to`, if any."""
    ours = settings.mail
    if not ours.source:
        if settings.party == "cap":
            yield failing("mail: mail.source is empty", "name the relay: without it nobody can sign in")
        elif test_to:
            yield failing("mail: mail.source is empty", "name the relay: no test was sent")
        return
    if ours.unencrypted:
        yield doubtful("mail: the relay is spoken to without TLS (mail.unencrypted)", "only for one on this machine")
    try:
        outside.mail.reach()
    except Unreachable as error:
        yield failing(f"mail: {error.explained}", "look at the relay, and at the section mail of the settings")
        return
    yield fine("mail: the relay answers" + (", and takes our password" if ours.user else ""))
    if test_to:
        yield _test_mail(settings, outside, test_to)


def _test_mail(settings: Settings, outside: Outside, to: str) -> Finding:
    text = f"This is a test by the operator of {settings.brand}. Nothing needs to be done.\n"
    try:
        outside.mail.send(to, f"Test from {settings.brand}", text)
    except (Unreachable, ValueError) as error:
        why = str(error) if isinstance(error, Unreachable) else "this is no e-mail address"
        return failing(f"mail: the test was not sent: {why}", "look at what the relay logged of it")
    return fine("mail: the relay took the test")
