"""What a client's software can be made to meet on purpose: every refusal of an endpoint, and every bad day.

`table` says what there is, `door` makes a client meet it, and `report` says how its software behaved afterwards.
"""
