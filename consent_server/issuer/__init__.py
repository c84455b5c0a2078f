"""The OAuth endpoints, one module of checks for each."""
