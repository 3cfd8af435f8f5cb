"""Load: real clients' requests made beforehand, sent to a real server, with what they cost it."""
