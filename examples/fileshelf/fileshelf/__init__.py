"""Fileshelf indexes documents: what they are, what they say, and how they read."""
