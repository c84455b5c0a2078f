"""The pages of the journey, of evidence, and of looking after permissions."""
