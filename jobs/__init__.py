"""What a person runs: the command line, one verb a file."""
