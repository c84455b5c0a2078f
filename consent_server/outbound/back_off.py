"""How long to pause before a party that failed is called again."""

import secrets


def back_off(failures: int, first_s: int, longest_s: int) -> int:
    """Return the seconds before the next attempt: `first_s`, doubled with each failure in a row before this one, `longest_s`
    at most, less a jitter of up to half of it."""
    longest: int = max(1, min(longest_s, first_s * 2 ** min(failures, 16)))
    return longest - secrets.randbelow(longest // 2 + 1)
