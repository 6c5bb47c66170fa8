"""What code and measurements say, written into documents: `python -m tools.documentation`.

`documents.with_tables` fills the places of a page; `reference`, `benchmark_tables`, `headline`
and `speed_claims` write the tables.
"""
