"""How well the service runs, for partners: what probes measured, what we announced, and the service levels that follow."""
