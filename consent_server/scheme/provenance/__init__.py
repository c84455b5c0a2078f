"""Provenance: the signed container, the steps that a party signs, and the duties of a receiver."""
