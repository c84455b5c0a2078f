"""Permission texts as an SME reads them: the Registry's wording, with names from the Directory."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from consent_server import clock
from consent_server.journey.parts import ShownText
from consent_server.outbound.directory import Directory, Member
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.registry import FuelNotNamed, Registry, TextChanged
from consent_server.refusal import Refusal, Unavailable
from consent_server.scheme import licenses
from consent_server.scheme.licenses import UnfilledPlaceholder
from consent_server.settings import License, Settings


class TextNotShowable(Refusal):
    """The Registry's text is not the pinned one, does not name a fuel, or cannot be filled: nobody is shown it."""

    code = "text_not_showable"
    error = "server_error"
    status = 503
    public = "The permission text cannot be shown just now, so nothing can be agreed to. Try again later."
    help = (
        "The operator of this server must look at the log: the Registry's text differs from the one that is configured."
    )
    clause = "Perseus policy data-license; IB1 Permission Records"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "600"}


class Texts:
    """Every configured text, by its license's URL: what our issuer accepts, and what our portal asks for."""

    def __init__(self, settings: Settings, registry: Registry, directory: Directory) -> None:
        asked = [settings.collection.license] if settings.collection.license else []
        self._by_url = {license_.url: license_ for license_ in (*settings.scheme.licenses, *asked)}
        self._process = settings.member.withdrawal_process
        self._registry = registry
        self._directory = directory

    def shown(self, license_url: str, *, edps: Sequence[str], cap: str, fsp: str | None = None) -> ShownText:
        """The text of a configured license; the others are member URLs of those whom it may name.

        Raises TextNotShowable, Unavailable.
        """
        try:
            return self._shown(self._by_url[license_url], edps, cap, fsp)
        except (TextChanged, FuelNotNamed, UnfilledPlaceholder, KeyError) as error:
            raise TextNotShowable(f"{type(error).__name__}: {error}") from None
        except Unreachable as error:
            raise Unavailable(str(error)) from None

    def _shown(self, license_: License, edps: Sequence[str], cap: str, fsp: str | None) -> ShownText:
        published = self._registry.license(license_)
        if published.license.duration != license_.duration:
            raise TextChanged(f"{license_.label}: duration")
        prohibited = published.license.prohibited_after
        if prohibited is not None and clock.now() >= prohibited:
            raise TextChanged(f"{license_.label}: prohibited by the Registry")
        providers = [self._directory.member(url) for url in edps]
        names = {"EDP": " and ".join(each.name for each in providers), "CAP": self._directory.member(cap).name}
        if fsp is not None:
            names["FSP"] = self._directory.member(fsp).name
        text = licenses.fill(published.text, self._values(names, providers))
        return ShownText(
            html=licenses.render(text),
            text=text,
            shown_sha256=licenses.digest(text),
            raw_sha256=published.license.text_sha256,
            names=names,
            fuels=frozenset(license_.fuels),
            title=published.license.title,
            duration=published.license.duration,
        )

    def _values(self, names: Mapping[str, str], providers: Sequence[Member]) -> dict[str, str]:
        # Nothing in a pushed request says for which bank a CAP asks: the SME chose it there (brief 1.2).
        named = {**names, "FSP": names.get("FSP", f"the financial service provider that you chose at {names['CAP']}")}
        values = {token: named[role] for role, tokens in _TOKENS.items() for token in tokens}
        policies = {each.privacy_policy for each in providers}
        if len(policies) == 1 and (policy := policies.pop()):  # a text with one link cannot speak for several policies
            values[licenses.EDP_PRIVACY_POLICY] = policy
        # An EDP does not know its clients' own words for how to withdraw there.
        values["[CAP process]"] = self._process or f"asking {names['CAP']}, or by withdrawing here"
        return values


_TOKENS = {
    "EDP": ("[EDP]", "[insert source of data]"),
    "CAP": ("[CAP]", "[Carbon accounting provider]"),
    "FSP": ("[FSP]", "[insert specific name of financial services provider]"),
}
