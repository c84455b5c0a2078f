"""Data out, behind a token."""
