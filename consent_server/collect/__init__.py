"""Data in, for a CAP: fetch with our own token, verify provenance, work out the months, report."""
