"""A passkey in software: what a browser with a platform authenticator sends (Web Authentication 6 and 7)."""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from tests.jose import decoded, encoded

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass
class SoftwarePasskey:
    """One credential with an ES256 key; `counter` is its signature counter, which stays 0 in a synced passkey."""

    id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    counter: int = 0
    user: bytes = b""

    def made(self, options: str, origin: str, *, flags: int = PRESENT | VERIFIED, **changes: Any) -> str:
        """The RegistrationResponseJSON to options for create(). `changes` are of the client data, the attestation object, and
        `id`, `rp_id` and `attestation`."""
        asked = json.loads(options)
        self.user = decoded(asked["user"]["id"])
        own = changes.pop("id", self.id)
        credential = bytes(16) + len(own).to_bytes(2, "big") + own + self._public()
        data = self._data(changes.pop("rp_id", asked["rp"]["id"]), flags | ATTESTED) + credential
        client = self._client("webauthn.create", asked, origin, changes)
        attestation: dict[str, Any] = {"fmt": "none", "attStmt": {}, "authData": data}
        if changes.pop("attestation", "none") == "packed":
            signed = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
            attestation |= {"fmt": "packed", "attStmt": {"alg": -7, "sig": signed}}
        response = {"clientDataJSON": encoded(client), "attestationObject": encoded(cbor2.dumps(attestation | changes))}
        return self._sent(own, response)

    def used(self, options: str, origin: str, *, flags: int = PRESENT | VERIFIED, **changes: Any) -> str:
        """The AuthenticationResponseJSON to options for get(). `changes` as in `made`, and `user`, `key`."""
        asked = json.loads(options)
        data = self._data(changes.pop("rp_id", asked["rpId"]), flags)
        key, user = changes.pop("key", self.key), changes.pop("user", self.user)
        own = changes.pop("id", self.id)
        client = self._client("webauthn.get", asked, origin, changes)
        response = {
            "clientDataJSON": encoded(client),
            "authenticatorData": encoded(data),
            "signature": encoded(key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))),
        }
        if user is not None:
            response["userHandle"] = encoded(user)
        return self._sent(own, response)

    def _public(self) -> bytes:
        numbers = self.key.public_key().public_numbers()
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})

    def _data(self, rp_id: str, flags: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.counter.to_bytes(4, "big")

    def _client(self, kind: str, asked: dict[str, Any], origin: str, changes: dict[str, Any]) -> bytes:
        said = {"type": kind, "challenge": asked["challenge"], "origin": origin, "crossOrigin": False}
        said |= {name: changes.pop(name) for name in said.keys() & changes.keys()}
        return json.dumps(said).encode()

    def _sent(self, own: bytes, response: dict[str, str]) -> str:
        return json.dumps({"id": encoded(own), "rawId": encoded(own), "type": "public-key", "response": response})
