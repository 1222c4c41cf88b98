"""A longer search over settings than `musclelora train` makes by itself."""
