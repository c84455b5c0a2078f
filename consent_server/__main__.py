"""`python -m consent_server`: the same as `consent-server`."""

from consent_server.cli import main

main()
