"""The tables, each declared as the type of its rows. Instants are whole seconds since 1970-01-01T00:00Z.

No column holds a usable token, code or key: handles are kept as SHA-256 digests, a refresh token is recomputed from its id and
key version, and the tokens that we hold as a client are encrypted with AES-GCM.

A table is in the module of its subject. All of them are imported here, so that whoever imports one has the whole schema.
"""

from consent_server.store.tables import (
    accounts,
    audit,
    collecting,
    journeys,
    limits,
    metering,
    owed,
    permissions,
    processes,
    sessions,
    status,
)

__all__ = [
    "accounts",
    "audit",
    "collecting",
    "journeys",
    "limits",
    "metering",
    "owed",
    "permissions",
    "processes",
    "sessions",
    "status",
]
