"""`ser train` on Ray Train: its workers, their group, and what the command hears of them."""
