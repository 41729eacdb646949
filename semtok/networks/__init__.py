"""The networks behind tokens: selector, scalable vocoder, speaker, generators."""
