"""Short programs: their language, how they are fitted, priced, put in words and exported."""
