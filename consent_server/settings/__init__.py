"""Typed settings: one TOML file, overridden by the environment. The server refuses to start on a bad value.

Every field has a description, which is the operator's guide to that key: docs/settings.md is generated from here. A section is
in the module of its subject, `party` puts them together.
An environment variable is `CONSENT_` and the path of the key in capitals, joined by two underscores:
`CONSENT_DATABASE__URL`. `DATABASE_URL` by itself works as well.
"""

from consent_server.settings.party import Settings, load
from consent_server.settings.section import BadSettings

__all__ = ["BadSettings", "Settings", "load"]
