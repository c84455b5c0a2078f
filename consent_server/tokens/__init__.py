"""What issuer and resource server both believe about tokens."""
