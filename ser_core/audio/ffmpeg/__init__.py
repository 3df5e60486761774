"""What FFmpeg reads: how it opens files, what is known of their formats, and what is wrong with their ends."""
