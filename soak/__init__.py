"""Long experiments: load held, faults survived, bad inputs tried, with nothing lost."""
