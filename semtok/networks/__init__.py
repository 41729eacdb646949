"""Networks: layer selector, generators, speaker encoder, the scalable vocoder; and how sequences go through them."""
