"""The path run backwards: an SME withdraws, everything that rested on it falls, and those who must know are told."""
