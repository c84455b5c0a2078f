"""Our own calls out: the only network code."""
