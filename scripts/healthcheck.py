"""Whether this container's process does its work: the image's HEALTHCHECK. Exit status 0 means yes.

    healthcheck.py [/health | /ready]

A door is asked for /health (whether it lives) or /ready (whether it can serve), as itself and over TLS; the mutual-TLS door is
shown our own client certificate, for neither asks for a role. Which door it is stands in the environment of the first process
(`consent-server serve` puts it there).
`consent-server work` opens nothing: as long as it runs, it is well.
"""

import http.client
import json
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path

from consent_server.settings import load

TIMEOUT_S = 4


def healthy(environment: Mapping[str, str], path: str = "/health") -> bool:
    """`environment` is that of the served process. Raise OSError when nothing answers."""
    door = environment.get("CONSENT_DOOR")
    if door is None:
        return True
    settings = load(Path(environment["CONSENT_CONFIG"]), json.loads(environment.get("CONSENT_SET", "{}")))
    listener = settings.public if door == "public" else settings.mutual_tls
    context = ssl.create_default_context()
    # We ask ourselves, over loopback and by address: whether the name in the certificate is right is not the question.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if door == "mutual_tls":
        context.load_cert_chain(settings.keys.client_certificate, settings.keys.client_key)
    port = int(listener.bind.rpartition(":")[2])
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    finally:
        connection.close()


def main() -> None:
    entries = Path("/proc/1/environ").read_text(encoding="utf-8").split("\0")
    environment = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    sys.exit(0 if healthy(environment, *sys.argv[1:2]) else 1)


if __name__ == "__main__":
    main()
