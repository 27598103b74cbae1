"""The NLVR corpus, and a proxy for it that is made here."""
