"""Verdict: when may a vision-language model decide on its own?"""
