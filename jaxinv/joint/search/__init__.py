"""Where runs start, which are made for which observation, and what their minima say."""
