"""What an EDP holds, behind two interfaces: the meter register and the readings, each with several sources."""
