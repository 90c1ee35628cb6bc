"""Running a network changed: units held, weights masked, modules silenced."""
