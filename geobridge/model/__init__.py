"""Encoders, the anchor objective, fusion of queries, checkpoints and presets.

config.py      what a model is, as data
towers.py      the encoders of `transformers` behind one contract
tokens.py      sentences to token ids; training a tokenizer
geobridge.py   `GeoBridge`: pictures or sentences in, unit-norm rows out
checkpoint.py  a model as a folder: config.json, model.safetensors, tokenizer.json
objective.py   the loss of the paper, with missing views
fusion.py      several modalities of one query as one embedding
release.py     the paper's pickled weights, read without executing them
presets/       named configurations
weights/       checkpoints that ship with the package
"""
