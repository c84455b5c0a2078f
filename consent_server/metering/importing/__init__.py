"""Loading an EDP's own meters and readings from files: read, judge each line, merge by half-hour, say what was done."""
