"""Seeds: every random number of the planet follows from names and integers, on any machine."""

import hashlib

import numpy as np


def generator(*keys: int | str) -> np.random.Generator:
    """A random generator that depends on `keys` and nothing else.

    Python's own `hash` of a string changes from process to process, so strings are hashed here.
    """
    text = "\x1f".join(f"{type(key).__name__}:{key}" for key in keys)
    digest = hashlib.sha256(text.encode()).digest()
    words = np.frombuffer(digest, dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words.tolist())))
