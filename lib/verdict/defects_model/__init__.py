"""Defects of the published study that take the network to show, each switched on for a network of this report.

`rebuilt` puts a trained network together again, `pixels` shows it the wrong range, `unfreezing` sets too much free,
`attention` repeats the study's wrapper, `fits` trains heads that differ in one defect.
"""
