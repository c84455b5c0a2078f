"""What signs for us: a private key in a file, or in an HSM."""
