"""Batch speech emotion recognition: the library. It knows neither Ray nor Typer."""
