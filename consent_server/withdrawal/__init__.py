"""Withdrawal of a permission: it ends with everything that rests on it, and the other parties get a message."""
