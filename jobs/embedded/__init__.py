"""What reads the embeddings that an output keeps: another head or adaptation without audio, and a search."""
