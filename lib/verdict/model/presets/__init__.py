"""Tiny presets for the two encoders, and their recipe: `python -m verdict.model.presets [--only NAME] [--out FOLDER]`.

They have the format, the loading code and the role of the published encoders, at a size that a laptop can afford:
vision transformers that were taught what each patch of a scene holds, and DistilBERTs that were taught masked words.
None has seen a pair of image and sentence, nor an image or a handwriting sample that any split uses.
"""
