"""What a decoder is: layers, their activations, the chain they form, and its measurements."""
