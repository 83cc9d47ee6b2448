"""What is kept of a run: events, findings, the ledger, run directories, nights. It imports nothing that computes."""
