"""How a party looks: its colour, and its logo and others', each checked before anybody sees it. Values alone."""
