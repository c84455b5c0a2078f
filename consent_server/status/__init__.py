"""How well we run, as partners see it: what probes measured, what we announced, and the service levels that follow."""
