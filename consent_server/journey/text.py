"""Permission texts as an SME reads them: the Registry's wording, with names from the Directory."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, Final

from consent_server import clock
from consent_server.deployment import current
from consent_server.outbound.directory import Member
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.registry import FuelNotNamed, TextChanged
from consent_server.refusal import Refusal, Unavailable
from consent_server.scheme import permission_text
from consent_server.scheme.instant import DAY
from consent_server.scheme.licenses import PublishedLicense, digest
from consent_server.scheme.permission_text import ShownText, UnfilledPlaceholder
from consent_server.settings import Settings
from consent_server.settings.scheme import LicenseSettings

log = logging.getLogger("consent_server.journey")

#: Role in a text -> the placeholders that its name replaces.
_PLACEHOLDERS: Final = {
    "EDP": ("[EDP]", "[insert source of data]"),
    "CAP": ("[CAP]", "[Carbon accounting provider]"),
    "FSP": ("[FSP]", "[insert specific name of financial services provider]"),
}


class TextNotShowable(Refusal):
    """The Registry's text is not the pinned one, does not name a fuel, or cannot be filled: nobody sees it."""

    code = "text_not_showable"
    error = "server_error"
    status = 503
    public = "The permission text cannot be shown just now, so nothing can be agreed to. Try again later."
    help = (
        "The operator of this server must look at the log: the Registry's text differs from the one that is configured."
    )
    clause = "Perseus policy data-license; IB1 Permission Records"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "600"}


class LicenseProhibited(Refusal):
    code = "license_prohibited"
    error = "invalid_scope"
    status = 403
    public = (
        "The scheme has ended this license, so nothing new can be agreed to under it. Permissions that were given before "
        "go on until they end."
    )
    help = (
        "Ask for the license's successor, which the Registry names. Operators: remove this license from "
        "scheme.licenses."
    )
    clause = "IB1 Registry Versioning (prohibitedAfter)"


def shown(license_url: str, *, edps: Sequence[str], cap: str, fsp: str | None = None) -> ShownText:
    """Return the text of a configured license; `edps`, `cap` and `fsp` are member URLs of those whom it may name.

    Raise TextNotShowable, LicenseProhibited, Unavailable.
    """
    try:
        return _shown(_configured(current().settings)[license_url], edps, cap, fsp)
    except (TextChanged, FuelNotNamed, UnfilledPlaceholder, KeyError) as error:
        raise TextNotShowable(f"{type(error).__name__}: {error}") from None
    except Unreachable as error:
        raise Unavailable(str(error)) from None


def _configured(settings: Settings) -> dict[str, LicenseSettings]:
    """Return the settings of each license by its URL: what our issuer accepts, and what our portal asks for."""
    asked = (settings.collection.license, settings.collection.combined_license)
    return {each.url: each for each in (*settings.scheme.licenses, *asked) if each is not None}


def _shown(license_: LicenseSettings, edps: Sequence[str], cap: str, fsp: str | None) -> ShownText:
    here = current()
    published = here.registry.license(license_)
    if published.license.duration != license_.duration:
        raise TextChanged(f"{license_.label}: duration")
    _require_permitted(published.license)
    providers = [here.directory.member(url) for url in edps]
    parties = {"EDP": providers, "CAP": [here.directory.member(cap)]}
    if fsp is not None:
        parties["FSP"] = [here.directory.member(fsp)]
    names = {role: " and ".join(each.name for each in members) for role, members in parties.items()}
    values = _values(names, providers)
    text, shown_sha256 = _filled(published.text, tuple(values.items()))
    return ShownText(
        html=permission_text.render(text),
        text=text,
        shown_sha256=shown_sha256,
        raw_sha256=published.license.text_sha256,
        names=names,
        fuels=frozenset(license_.fuels),
        title=published.license.title,
        duration=published.license.duration,
        label=license_.label,
        uses=published.license.uses,
        named=permission_text.named(published.text),
        ending=_sentences(permission_text.on_ending, published.text, values),
        withdrawal=_sentences(permission_text.on_withdrawal, published.text, values),
        legal_names={role: " and ".join(each.legal_name for each in members) for role, members in parties.items()},
    )


@lru_cache(maxsize=256)
def _filled(raw_text: str, values: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """Return a text with its placeholders filled, and its digest: made once for a license and the parties that it names."""
    text = permission_text.fill(raw_text, dict(values))
    return text, digest(text)


def _sentences(chosen: Callable[[str], str], raw_text: str, values: Mapping[str, str]) -> str:
    """Return chosen sentences of a text, filled. They are chosen before, since a name could be mistaken for a sentence."""
    return permission_text.without_markup(permission_text.fill(chosen(raw_text), values))


def _require_permitted(published: PublishedLicense) -> None:
    at = clock.now()
    if published.is_prohibited(at):
        raise LicenseProhibited(f"{published.url} is prohibited by the Registry")
    if published.is_deprecated(at):
        _warn_of_deprecation(published.url, at // DAY)


@lru_cache(maxsize=64)
def _warn_of_deprecation(license_url: str, _day: int) -> None:
    log.warning("%s is deprecated by the Registry, and was shown to a business: move to its successor", license_url)


def _values(names: Mapping[str, str], providers: Sequence[Member]) -> dict[str, str]:
    # A pushed request of another CAP's software does not say for which bank it asks: the SME chose it there.
    named = {**names, "FSP": names.get("FSP", f"the financial service provider that you chose at {names['CAP']}")}
    values = {placeholder: named[role] for role, its in _PLACEHOLDERS.items() for placeholder in its}
    policies = {each.privacy_policy for each in providers}
    if len(policies) == 1 and (policy := policies.pop()):  # a text with one link cannot give several policies
        values[permission_text.EDP_PRIVACY_POLICY] = policy
    # An EDP does not know its clients' own words for how to withdraw there.
    process = current().settings.member.withdrawal_process
    values["[CAP process]"] = process or f"asking {names['CAP']}, or by withdrawing here"
    return values
