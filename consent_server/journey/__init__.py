"""What the SME sees: who it is, what is asked, what it decides, and how it withdraws."""
