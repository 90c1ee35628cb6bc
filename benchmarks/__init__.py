"""Experiments that decide designs, and the records they leave."""
