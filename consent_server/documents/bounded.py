"""Verification of a stranger's file in a process of its own, which is bounded in time and in memory.

The process is `python -m consent_server.documents.bounded`: one JSON object in, one out.
"""

import resource
import subprocess
import sys
from base64 import b64decode, b64encode
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.serialization import Encoding

from consent_server.documents.data import as_json, read
from consent_server.documents.verify import LARGEST, NotGenuine, Trusted, VerifiedReport, verify
from consent_server.pki.member_certificate import load_certificates

SECONDS: Final = 20
MEMORY: Final = 1024 * 1024 * 1024


def verify_apart(file: bytes, trusted: Trusted, at: int) -> VerifiedReport:
    """Return the report that a PDF is, as `verify()` does, of whatever size. Raise NotGenuine."""
    if len(file) > LARGEST:
        raise NotGenuine("size", f"more than {LARGEST} bytes")
    question = {
        "file": b64encode(file).decode(),
        "root": trusted.root.public_bytes(Encoding.PEM).decode(),
        "trust_framework": trusted.trust_framework,
        "lists": [b64encode(each).decode() for each in trusted.lists],
        "recipient": trusted.recipient,
        "at": at,
    }
    try:
        done = subprocess.run(
            # -P: the stranger's files may lie in the working directory, and none of them is a module of ours.
            [sys.executable, "-P", "-m", "consent_server.documents.bounded"],
            input=orjson.dumps(question),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=2 * SECONDS,
            check=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        raise NotGenuine("time", f"verification takes more than {SECONDS} s, or more memory than there is") from None
    answer: dict[str, Any] = orjson.loads(done.stdout)
    if "check" in answer:
        raise NotGenuine(answer["check"], answer["why"])
    return VerifiedReport(**answer | {"data": read(answer["data"].encode())})


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    trusted = Trusted(
        root=load_certificates(question["root"].encode())[0],
        trust_framework=question["trust_framework"],
        lists=[b64decode(each) for each in question["lists"]],
        recipient=question["recipient"],
    )
    try:
        found = verify(b64decode(question["file"]), trusted, question["at"])
    except NotGenuine as error:
        return {"check": error.check, "why": error.why}
    return {**vars(found), "data": as_json(found.data).decode()}


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.buffer.write(orjson.dumps(_answer(orjson.loads(sys.stdin.buffer.read()))))


if __name__ == "__main__":
    _main()
