"""Runs inside the virtual environment that has ib1-provenance, and nothing of ours: one job as JSON on standard input.

{"do": "verify", "record", "trust_framework", "root"} -> the decoded steps
{"do": "sign", "records", "steps", "trust_framework", "root", "chain", "key"} -> the signed record; a step may refer to
    an earlier one of its kind: "$n" stands for the id of the n-th step added here, "@n" for that of the n-th step of
    the records, which are verified and added first.
"""

import json
import sys

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from ib1.provenance import Record
from ib1.provenance.certificates import CertificatesProviderSelfContainedRecord
from ib1.provenance.signing import SignerInMemory


def verified(provider, trust_framework, record):
    held = Record(trust_framework, record)
    held.verify(provider)
    return held


def filled(value, added, present):
    if isinstance(value, dict):
        return {name: filled(member, added, present) for name, member in value.items()}
    if isinstance(value, list):
        return [filled(member, added, present) for member in value]
    if isinstance(value, str) and value[:1] in ("$", "@"):
        return (added if value[0] == "$" else present)[int(value[1:])]
    return value


def main(job):
    provider = CertificatesProviderSelfContainedRecord(job["root"].encode())
    if job["do"] == "verify":
        return verified(provider, job["trust_framework"], job["record"]).decoded()
    record = Record(job["trust_framework"])
    present = []
    for signed in job["records"]:
        inner = verified(provider, job["trust_framework"], signed)
        present += [step["id"] for step in inner.decoded()]
        record.add_record(inner)
    added = []
    for step in job["steps"]:
        added.append(record.add_step(filled(step, added, present)))
    chain = x509.load_pem_x509_certificates(job["chain"].encode())
    key = load_pem_private_key(job["key"].encode(), None)
    return record.sign(SignerInMemory(provider, chain, key)).encoded()


json.dump(main(json.load(sys.stdin)), sys.stdout)
