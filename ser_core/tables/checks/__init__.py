"""What `ser verify` does: every part against the log, the tables against each other, run.json against all of them."""
