"""What code and measurements say, written into documents: `python -m tools.documentation`.

`documents.with_tables` fills the places of a page; `reference`, `benchmark_tables`, `headline`,
`speed_claims` and `safety_case` write the tables.
"""
