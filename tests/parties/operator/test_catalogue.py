"""Our entry in the Directory's data catalogue."""

import json
from typing import Any

import pytest

from consent_server.parties.operator import catalogue
from consent_server.parties.operator.records import CommandFailed
from tests.deployments import layout, settings_of

#: IB1 Data Catalog Records: mandatory terms, and those of a data service whose data need permission.
TERMS = {
    "@context",
    "@id",
    "@type",
    "dcterms:title",
    "dcterms:publisher",
    "dcterms:license",
    "dcterms:conformsTo",
    "ib1:trustFramework",
    "ib1:scheme",
    "ib1:datasetAssurance",
    "ib1:sensitivityClass",
    "ib1:oauthIssuer",
    "ib1:roleRequiredToAccess",
    "ib1:heartbeatDescription",
    "dcat:endpointURL",
    "dcat:endpointDescription",
}


def links(value: Any) -> list[str]:
    return [each["@id"] for each in (value if isinstance(value, list) else [value])]


@pytest.mark.parametrize(("party", "asking", "standard"), [("edp", "cap", "consumption"), ("cap", "fsp", "emissions")])
def test_the_entry_has_every_term_of_the_specification(party: str, asking: str, standard: str) -> None:
    here, settings = layout(), settings_of(party, "sqlite://")
    entry = catalogue.entry(settings)
    assert entry.keys() == TERMS
    assert (entry["@id"], entry["@type"]) == (here.data_service(party), "dcat:DataService")
    assert links(entry["dcterms:publisher"]) == [here.member(party)]
    assert links(entry["dcterms:conformsTo"]) == [getattr(here, f"{standard}_standard")]
    assert links(entry["dcat:endpointURL"]) == [here.resource(party)]
    assert links(entry["ib1:oauthIssuer"]) == [here.issuer(party)]
    assert links(entry["ib1:scheme"]) == [f"{here.registry}/scheme/perseus"]
    assert links(entry["ib1:datasetAssurance"]) == ["ib1:AssuranceLevel2"]
    assert links(entry["ib1:sensitivityClass"])[0].endswith("/IB1-SP")
    assert links(entry["dcterms:license"]) == [license_.url for license_ in settings.scheme.licenses]
    assert links(entry["ib1:roleRequiredToAccess"]) == list(getattr(settings.scheme, f"{asking}_roles"))
    assert json.loads(json.dumps(entry)) == entry


def test_what_is_missing_is_named() -> None:
    settings = settings_of("edp", "sqlite://", {"catalogue.title": "", "catalogue.heartbeat_description": ""})
    with pytest.raises(CommandFailed, match=r"set catalogue\.title, catalogue\.heartbeat_description;"):
        catalogue.entry(settings)
