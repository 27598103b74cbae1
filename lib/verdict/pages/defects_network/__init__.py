"""Defects of the published study that take the network to show, each switched on for a network of this report.

`kept_answers` asks the kept model, `unfreezing` sets too much free, `fits` trains heads that differ in one defect.
"""
