"""How a party looks: its colours, its logo and other parties' logos, each checked before it is shown. Plain values."""
