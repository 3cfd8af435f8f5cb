"""The enrollment server: speaks protocols, asks policies, has plans signed, records everything."""
