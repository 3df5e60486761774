"""An output that somebody reads while nothing is written: its rows by path, its embeddings, what is near to others."""
