"""A trust framework in a box: authority, Registry, Directory, grid intensity and mail, for one machine alone.

Nothing outside the tests and the command line's `sandbox` command imports this package.
"""
