"""Signing in by e-mail, for a CAP's portal and for its issuer."""
