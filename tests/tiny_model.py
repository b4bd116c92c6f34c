"""A model small enough to build in every test."""


def tiny_settings(**changes):
    """Its settings, as a checkpoint has them; a changed table takes the place of the whole."""
    square = {"height": 16, "width": 16, "fit": "cover"}
    settings = {
        "name": "tiny",
        "dim": 8,
        "weights": "adapter",
        "image": {
            "kind": "resnet",
            "config": {
                "embedding_size": 8,
                "hidden_sizes": [8, 16],
                "depths": [1, 1],
                "layer_type": "basic",
            },
            "pooling": "gem",
            "norm": "layer",
        },
        "text": {
            "kind": "clip",
            "config": {
                "vocab_size": 300,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "projection_dim": 8,
                "max_position_embeddings": 24,
                "pad_token_id": 0,
                "eos_token_id": 1,
                "bos_token_id": 2,
            },
            "max_tokens": 24,
        },
        "preprocess": {
            "drone": square,
            "street": {"height": 16, "width": 64, "fit": "angular"},
            "satellite": square,
        },
        "adapter_dim": 4,
    }
    return settings | changes
