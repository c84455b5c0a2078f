"""What the operator of a party can ask and do from the command line."""
