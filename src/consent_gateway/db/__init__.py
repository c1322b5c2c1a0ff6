"""The only ring with SQL: tables, queries as functions, rows to concepts and back.

A query is a function that takes a connection and returns values; nothing loads lazily and nothing here commits
(`engine.Store.transaction` does, once per use case).
"""
