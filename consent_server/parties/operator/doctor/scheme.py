"""What the trust framework publishes about us, and whether others can read what we publish ourselves."""

from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from cryptography import x509

from consent_server import clock as our_clock
from consent_server.outbound import revocation_list as lists
from consent_server.outbound.directory import Member
from consent_server.outbound.errors import NotAllowed, Unreachable
from consent_server.outbound.registry import FuelNotNamed, RegistryUnreachable, TextChanged
from consent_server.parties.operator.doctor.certificates import own_roles
from consent_server.parties.operator.doctor.finding import Finding, doubtful, either, failing, fine
from consent_server.parties.operator.doctor.outside import Outside
from consent_server.pki.crl import NotTrusted, RevokedSerials, authority_of, read_revocation_list
from consent_server.pki.member_certificate import MalformedCertificate, load_certificates
from consent_server.scheme import instant, roles
from consent_server.scheme.instant import DAY
from consent_server.settings import Settings
from consent_server.settings.scheme import LicenseSettings
from consent_server.tokens.keys import KeysUnusable, PublicKeys, SigningKeys

# A token may be dated ten seconds ahead at most (FAPI 2.0 5.3.2.1-13); Date has whole seconds and took time to arrive.
_NOTICEABLE_S, _TOO_FAR_S = 3, 10
# An agreement is renewed by people: they need weeks.
_SOON_S = 60 * DAY
_MOST_MEMBERS = 50
_TELL_DIRECTORY = "ask the Directory to correct the entry"


def clock(settings: Settings, outside: Outside) -> Iterator[Finding]:
    """Compare our clock with the Directory's."""
    try:
        answer = outside.session.get(settings.scheme.allowlist_url, configured=True)
        theirs = int(parsedate_to_datetime(answer.headers["date"]).timestamp())
    except Unreachable as error:
        yield failing(
            f"Directory: {error.explained}",
            "look at scheme.directory, name servers, outgoing https and keys.server_roots",
        )
        return
    except (KeyError, ValueError):
        yield doubtful("clock: the Directory's answer has no date", "compare the clock by hand")
        return
    apart = our_clock.now() - theirs
    what, todo = f"clock: {apart} s from the Directory's", "synchronise the clock (NTP)"
    if abs(apart) <= _NOTICEABLE_S:
        yield fine(what)
    elif abs(apart) <= _TOO_FAR_S or settings.sandbox.clock:
        yield doubtful(what, "set the sandbox's clock back" if settings.sandbox.clock else todo)
    else:
        yield failing(what, f"{todo}: tokens would be refused")


def revocation_list(settings: Settings, outside: Outside, at: int) -> Iterator[Finding]:
    """Examine the revocation lists: fetched, signed by the client authority, in force, our certificate not on its issuer's."""
    name = "revocation list"
    if not settings.revocation_list.sources:
        yield doubtful(f"{name}: none is configured", "set revocation_list.source; production asks for it")
        return
    try:
        root, issuers = lists.client_authority(settings.clients)
        ours = load_certificates(settings.keys.client_certificate.read_bytes())[0]
    except (OSError, MalformedCertificate):
        return  # `certificates` has reported these files
    except ValueError as error:
        yield failing(str(error), "take everything else out of the file")
        return
    listed = set()
    for source in settings.revocation_list.sources:
        try:
            said = read_revocation_list(lists.fetch(source, outside.session), issuers, root, at)
        except Unreachable as error:
            yield failing(f"{name}: {error.explained}", "look at revocation_list.source")
            continue
        except NotTrusted as error:
            yield failing(f"{name}: {error}", "name the issuer that signs it in clients.issuers, or mend the source")
            continue
        listed.add(said.authority)
        yield from _list_says(name, said, issuers, ours, at)
    if any(authority_of(issuer) not in listed for issuer in issuers):
        yield doubtful(
            f"{name}: there is none of an issuer in clients.issuers", "add its list to revocation_list.source"
        )


def _list_says(
    name: str, said: RevokedSerials, issuers: Sequence[x509.Certificate], ours: x509.Certificate, at: int
) -> Iterator[Finding]:
    yield fine(f"{name}: fetched")
    yield fine(f"{name}: signed by the client authority")
    yield either(
        said.issued <= at < said.next_update,
        f"{name}: in force until {instant.text(said.next_update)}",
        "look at the clock, and ask the Directory for its newest list",
        f"{name}: in force from {instant.text(said.issued)} to {instant.text(said.next_update)}",
    )
    about_us = any(each.subject == ours.issuer and authority_of(each) == said.authority for each in issuers)
    yield either(
        not about_us or ours.serial_number not in said.serials,
        f"{name}: our client certificate is not on it",
        "get a new certificate",
        f"{name}: our client certificate is on it",
    )


def member(settings: Settings, outside: Outside, at: int) -> Iterator[Finding]:
    """Examine our member entry."""
    try:
        entry = outside.directory.member(settings.member.url)
    except Unreachable as error:
        yield failing(
            f"member entry: {error.explained}", "look at member.url: it is the URL of our member in the Directory"
        )
        return
    yield fine(f"member entry: {entry.name}")
    yield either(
        entry.membership_ok,
        "member entry: membership is active",
        "ask the Directory about the membership",
        "member entry: membership is not active",
    )
    yield either(
        roles.holds(entry.roles, own_roles(settings)),
        "member entry: our role",
        f"{_TELL_DIRECTORY}: none of our roles is there",
    )
    if settings.party == "edp":
        yield either(
            entry.privacy_policy is not None,
            "member entry: privacy policy",
            f"{_TELL_DIRECTORY}: without an https URL in privacyPolicy no permission text can be shown",
        )
    yield _agreement("our agreement with the scheme", entry, own_roles(settings), settings, at)


def agreements(settings: Settings, outside: Outside, at: int) -> Iterator[Finding]:
    """Name the providers in the catalogue whose agreement with the scheme has ended, or ends soon."""
    scheme = settings.scheme
    standard, accepted = (
        (scheme.emissions_standard, scheme.cap_roles)
        if settings.party == "edp"
        else (scheme.consumption_standard, scheme.edp_roles)
    )
    try:
        listed = outside.directory.data_services(standard)
    except Unreachable:
        return  # `data_service` has reported this, or need not know
    for url in sorted({each.member for each in listed} - {settings.member.url})[:_MOST_MEMBERS]:
        try:
            entry = outside.directory.member(url)
        except Unreachable as error:
            yield doubtful(f"agreement of {url}: {error.explained}", "the member cannot be chosen, nor called")
            continue
        yield _agreement(f"agreement of {entry.name}", entry, accepted, settings, at)


def _agreement(what: str, entry: Member, accepted: Sequence[str], settings: Settings, at: int) -> Finding:
    in_force = [each.until for each in entry.agreements if each.covers(accepted, at)]
    if not in_force:
        refused = settings.clients.refuses_lapsed(sandbox=settings.is_sandbox)
        report = failing if refused and entry.url == settings.member.url else doubtful
        return report(f"{what}: none in force in its role", "have it renewed: production refuses such a member")
    until = max(in_force)
    if until - at > _SOON_S:
        return fine(f"{what}: in force")
    return doubtful(f"{what}: ends at {instant.text(until)}", "have it renewed: production then refuses the member")


def application(settings: Settings, outside: Outside) -> Iterator[Finding]:
    """Examine our application entry."""
    try:
        entry = outside.directory.application(settings.member.application)
    except Unreachable as error:
        yield failing(
            f"application entry: {error.explained}", "look at member.application: it is our application's URL"
        )
        return
    yield fine(f"application entry: {entry.title}")
    yield either(
        entry.member == settings.member.url,
        "application entry: published by our member",
        "look at member.url and member.application: they belong together",
        f"application entry: published by {entry.member}",
    )
    yield either(
        roles.holds(entry.roles, own_roles(settings)),
        "application entry: our role",
        f"{_TELL_DIRECTORY}: none of our roles is there",
    )
    if settings.party == "cap":  # an EDP is sent no messages
        inbox = f"{settings.mutual_tls.origin}/messages"
        yield either(
            entry.message_delivery == inbox,
            "application entry: message delivery",
            f"set messageDelivery to {inbox} in the Directory: withdrawals would not reach us",
            f"application entry: message delivery is {entry.message_delivery or 'missing'}",
        )


def data_service(settings: Settings, outside: Outside) -> Iterator[Finding]:
    """Examine our API's entry in the catalogue, by which clients find our issuer."""
    edp = settings.party == "edp"
    standard = settings.scheme.consumption_standard if edp else settings.scheme.emissions_standard
    try:
        listed = outside.directory.data_services(standard)
    except Unreachable as error:
        yield failing(f"data catalogue: {error.explained}", "look at scheme.data_services_path")
        return
    # The catalogue's specified form has no ids: our entry is then the one of our member.
    ours = (each for each in listed if each.member == settings.member.url and each.id == each.endpoint)
    entry = next((each for each in listed if each.id == settings.member.data_service), None) or next(ours, None)
    if entry is None:
        yield failing(
            f"data catalogue: no {settings.member.data_service or 'entry named by member.data_service'} of our standard",
            "register the API in the Directory, and put its id into member.data_service",
        )
        return
    yield fine("data catalogue: our API is listed")
    yield either(
        entry.member == settings.member.url,
        "data catalogue: published by our member",
        "make publisher our member URL: `consent-server catalogue entry` writes the entry",
        f"data catalogue: published by {entry.member}",
    )
    yield either(
        entry.issuer is not None and entry.issuer.encode() == settings.issuer.encode(),
        "data catalogue: oauthIssuer is our issuer, byte for byte",
        f"make issuer and oauthIssuer the same; issuer is {settings.issuer}",
        f"data catalogue: oauthIssuer is {entry.issuer}",
    )
    yield either(
        entry.endpoint.rstrip("/") == settings.mutual_tls.origin,
        "data catalogue: endpointURL is our mutual-TLS door",
        "set endpointURL to mutual_tls.origin in the Directory",
        f"data catalogue: endpointURL is {entry.endpoint}",
    )


def allowlist(settings: Settings, outside: Outside, at: int) -> Iterator[Finding]:
    """Examine the Directory's server allowlist, and look for our hosts on it: other members call no others."""
    name = f"server allowlist {settings.scheme.allowlist_url}"
    try:
        found = outside.directory.allowlist()
    except Unreachable as error:
        yield failing(
            f"{name}: {error.explained}",
            "without it we may call no member: look at scheme.server_allowlist, and at allowlistFor in the list, which must "
            "be scheme.trust_framework or the scheme",
        )
        return
    age = f"changed {(at - found.updated) // DAY} days ago" if found.updated is not None else "without lastUpdated"
    yield fine(f"{name}: for {found.subject}, {len(found.hosts)} hosts, {age}")
    for host in sorted({urlsplit(door.origin).hostname or "" for door in (settings.public, settings.mutual_tls)}):
        what = f"server allowlist: {'has' if host in found.hosts else 'lacks'} {host}"
        yield either(host in found.hosts, what, "ask the Directory to add it")


def texts(settings: Settings, outside: Outside, at: int) -> Iterator[Finding]:
    """Compare the text of each license with the pinned digest and the fuels that it is configured to cover."""
    # The file of an EDP has the section collection too, and leaves it as it is. The combined license is among scheme.licenses.
    asked = settings.collection.license if settings.party == "cap" else None
    for license_ in (*settings.scheme.licenses, *([asked] if asked else [])):
        yield _text(license_, outside, at)


def _text(license_: LicenseSettings, outside: Outside, at: int) -> Finding:
    name = f"license {license_.url.removeprefix('https://')}"
    try:
        published = outside.registry.license(license_).license
    except TextChanged:
        return failing(f"{name}: not the pinned text", "read the Registry's text, and pin its SHA-256 in text_sha256")
    except FuelNotNamed as error:
        return failing(f"{name}: the text does not name a fuel ({error})", "configure only fuels that the text names")
    except RegistryUnreachable as error:
        return failing(f"{name}: {error.explained}", "look at the license's url and at scheme.registry")
    if published.duration != license_.duration:
        return failing(f"{name}: lasts {published.duration}", f"set duration to {published.duration}")
    if published.is_prohibited(at):
        return failing(f"{name}: prohibited by the Registry", "remove it, and take its successor")
    if published.is_deprecated(at):
        return doubtful(f"{name}: deprecated by the Registry", "move clients to its successor")
    return fine(f"{name}: pinned text, names {' and '.join(license_.fuels)}")


def metadata(settings: Settings, outside: Outside) -> Iterator[Finding]:
    """Examine our public door as a client finds it."""
    try:
        found = outside.upstream.metadata(settings.issuer)
    except NotAllowed as error:
        yield failing(f"metadata: {error.explained}", "clients may not call this host: see the server allowlist")
        return
    except Unreachable as error:
        yield failing(
            f"metadata: {error.explained}", "start the public door; its metadata must be at the issuer's well-known URL"
        )
        return
    yield fine("metadata: reachable, and its issuer is ours")
    try:
        answer = outside.session.get(found.jwks_uri or "", configured=True).must_be(200)
        theirs, (kid, _) = PublicKeys(answer.object()), SigningKeys(settings.keys.tokens).current()
    except (Unreachable, ValueError) as error:
        yield failing(f"JWKS: {error}", "look at the public door's log")
    except KeysUnusable:
        return  # `house.keys` has reported them
    else:
        same = theirs.public(kid) is not None
        yield either(
            same,
            "JWKS: has the key in use",
            "the door reads other keys: look at keys.tokens on that machine",
            "JWKS: lacks the key in use",
        )
