"""What signs for us: a private key in a file, or in an HSM; and the parts of a JWS."""
