"""The format and verification of tokens, shared by issuer and resource server."""
