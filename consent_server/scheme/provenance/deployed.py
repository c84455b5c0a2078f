"""How deployed providers depart from the specification: forms that are accepted when received, each by name, and never sent.

A form is accepted only in place of the one member that it stands for, and only with the value that our own call gives it, so
that it says what the specification's form would have said. docs/interop.md has a row for each name in this module.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from consent_server.scheme.provenance.step import Step, as_object

#: Of an origin that says `Missing` of a window in which no half-hour is missing. Its readings count as incomplete all the same.
WHOLE_DATA_CALLED_MISSING: Final = "origin_missing_data"
PERMISSION_WITHOUT_PROCESSES: Final = "permission_without_processes"
PERMISSION_WITHOUT_ORIGIN_LICENSE: Final = "permission_without_origin_license"
ORIGIN_WITHOUT_POSTCODE: Final = "origin_without_postcode"

#: Forms of what no check rests on: they are named, and refuse nothing.
NAMED_ONLY: Final = (
    PERMISSION_WITHOUT_PROCESSES,
    PERMISSION_WITHOUT_ORIGIN_LICENSE,
    ORIGIN_WITHOUT_POSTCODE,
    WHOLE_DATA_CALLED_MISSING,
)

#: A permission that lists its licenses in the British spelling, and in no other.
PERMISSION_LICENCES: Final = "permission_licences"


@dataclass(frozen=True)
class DeployedForm:
    """One member of a transfer step as deployed providers write it: `value`, under `key`, for the specification's `member`."""

    name: str
    member: str
    key: str
    value: object

    def written_in(self, transfer: Step) -> bool:
        """Return whether a transfer step has this form, and the specification's member is not there besides."""
        return transfer.get(self.key) == self.value and (self.key == self.member or self.member not in transfer)


def transfer_forms(
    *, application: str, license: str, address: str, parameters: Mapping[str, str]
) -> tuple[DeployedForm, ...]:
    """Return the forms in which deployed providers write the transfer of one call of the consumption API.

    `application` is the receiver's URL, `address` the URL that was called, without its query. `parameters` are those of the
    specification's form.
    """
    forms = (
        DeployedForm("transfer_to_application", "to", "to", application),
        DeployedForm("transfer_licence", "license", "licence", license),
        DeployedForm("transfer_service_address", "service", "service", address),
        DeployedForm("transfer_path_readings", "path", "path", "/readings"),
        DeployedForm("transfer_minutes", "parameters", "parameters", _to_the_minute(parameters)),
    )
    # Times that are no whole minutes have one form alone.
    return tuple(form for form in forms if form.value != parameters)


def licenses_of(permission: Step, *, deployed: bool) -> list[object]:
    """Return the licenses that a permission step lists, none where there is no list; `deployed`: in either spelling."""
    allows = as_object(permission.get("allows"))
    licenses = allows.get("licenses", allows.get("licences") if deployed else None)
    return licenses if isinstance(licenses, list) else []


def names_of(transfers: Collection[Step], steps: Iterable[Step], forms: Sequence[DeployedForm]) -> tuple[str, ...]:
    """Return the names of the deployed forms in a record that has passed its receiver's checks, in alphabetical order.

    `steps` are those that the record's last signer added, `transfers` the ones among them that were checked with `forms`.
    """
    found = {form.name for form in forms for transfer in transfers if form.written_in(transfer)}
    allowed: dict[str, Set[object]] = {}
    for step in steps:
        if step["type"] == "permission":
            found |= _of_permission(step)
            # A set, since a record may name each of its licenses thousands of times.
            allowed[step["id"]] = {each for each in licenses_of(step, deployed=True) if isinstance(each, str)}
        elif step["type"] == "origin":
            found |= _of_origin(step, [allowed.get(named, frozenset()) for named in step.get("permissions", [])])
    return tuple(sorted(found))


def _of_permission(step: Step) -> set[str]:
    allows = as_object(step.get("allows"))
    found = set()
    if "licences" in allows and "licenses" not in allows:
        found.add(PERMISSION_LICENCES)
    if "processes" not in allows:
        found.add(PERMISSION_WITHOUT_PROCESSES)
    return found


def _of_origin(step: Step, allowed: Collection[Set[object]]) -> set[str]:
    found = set()
    if "postcode" not in as_object(step.get("perseus:scheme")):
        found.add(ORIGIN_WITHOUT_POSTCODE)
    license = step.get("originLicense")
    if isinstance(license, str) and any(license not in each for each in allowed):
        found.add(PERMISSION_WITHOUT_ORIGIN_LICENSE)
    return found


def _to_the_minute(parameters: Mapping[str, str]) -> dict[str, str]:
    return {
        name: f"{value[: -len(':00Z')]}Z" if value.endswith(":00Z") else value for name, value in parameters.items()
    }
