"""The self-supervised encoder, layer by layer, for batches, long recordings and streams."""
