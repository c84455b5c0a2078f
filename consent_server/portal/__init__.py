"""What the SME sees at a CAP: start link, sign-in, permission, connect, result, my permissions."""
