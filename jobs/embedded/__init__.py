"""What reads the embeddings that an output keeps: a search."""
