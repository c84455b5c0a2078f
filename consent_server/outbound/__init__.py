"""Our own outgoing calls: the only network code."""
