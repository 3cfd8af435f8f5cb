"""The store: tables, transactions, group commit, migrations."""
