"""What a bank installs: its side as a carbon accounting provider's client, without Flask and without SQL (docs/bank.md)."""
