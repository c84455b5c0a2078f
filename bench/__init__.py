"""Reproducible measurements: `make bench`."""
