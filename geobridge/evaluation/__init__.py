"""How good an embedding is: rankings and what is read from them."""
