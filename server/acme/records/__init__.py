"""ACME's tables and the works on them; each work runs inside a transaction of the store.

Whatever belongs to an account is looked up by account and identifier together, so that what is foreign and what does
not exist can't be told apart. Works return what they found; whether a state forbids something is the caller's to judge.
Statements that run for every order are built once: building one costs more than running it.
"""
