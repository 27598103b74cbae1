"""Defects of the published study, switched on one at a time on a profile's own data; these modules need arrays only.

What needs the network is in `verdict.pages.defects_network`. A defect is named by its number in `ledger.csv`.
"""
