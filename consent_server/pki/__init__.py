"""Certificates and revocation lists, as values: no network, no store, no clock."""
