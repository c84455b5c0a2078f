"""The rules of Perseus and IB1, as plain values. No Flask, no SQL, no network, no clock."""
