"""Who is calling: how the certificate reaches us, and whether it is trusted."""
