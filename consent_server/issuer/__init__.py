"""The OAuth endpoints, in the order in which a client meets them: one module per rule book."""
