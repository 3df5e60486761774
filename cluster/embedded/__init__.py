"""What takes the place of audio where the embeddings of an output are scored."""
