"""Networks whose inside is known: programs, compiled to transformers."""
