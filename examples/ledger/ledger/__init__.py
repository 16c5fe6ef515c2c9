"""Ledger writes down which task ran where and when: what was lost, or ran twice, can be counted."""
