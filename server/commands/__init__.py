"""The commands of ``certwright``, one module each."""
