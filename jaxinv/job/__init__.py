"""Thousands to millions of observations: a directory of immutable shards that survives a crash."""
