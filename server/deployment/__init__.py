"""A deployment folder: everything a server needs to run, made once and then the administrator's own."""
