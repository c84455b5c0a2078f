"""What an EDP holds, with two interfaces: the meter register and the readings, each with several sources."""
