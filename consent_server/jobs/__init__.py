"""What runs beside requests: `consent-server work`."""
