"""The architectures, one a file (`ser_core.models.registry` finds them by name), and what they are built of."""
