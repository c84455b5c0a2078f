"""Who is calling: the certificate as it reaches us, and whether the trust framework stands behind it."""
