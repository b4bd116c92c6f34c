"""Pictures as numbers: safe decoding, panorama geometry, preprocessing, rotation.

Modules
    decode      any picture file to uint8 RGB, or one clear error
    street      how wide and how high a street picture looks, and views cut from panoramas
    preprocess  a picture to the uint8 tensor a model expects
    rotate      turning a nadir photo, cutting its centre

A picture is a numpy uint8 array (H, W, 3) in RGB order, everywhere.
"""
