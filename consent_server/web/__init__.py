"""What every page and endpoint shares: correlation id, strict parameters, sessions, CSRF, headers, the Refusal handler."""
