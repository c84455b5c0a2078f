"""E-mail addresses as people type them."""

from email_validator import EmailNotValidError, validate_email


def email_address(typed: str) -> str | None:
    """Return the address in the one spelling that is kept; or None if it is not an address.

    Letters are in lower case and the surrounding space is removed. An invisible character is refused and not removed: an
    address that looks like another may be somebody else's. No name server is queried.
    """
    try:
        return validate_email(typed.strip().lower(), check_deliverability=False, strict=True).normalized
    except EmailNotValidError:
        return None
