"""The pages of a CAP's portal."""
