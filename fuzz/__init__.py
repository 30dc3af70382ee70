"""Coverage-guided fuzzing of everything that opens other people's files: `python -m fuzz READER --minutes 30`."""
