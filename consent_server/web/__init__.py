"""What every page and endpoint shares: correlation, strict parameters, sessions, CSRF, headers, limits, language, refusals."""
