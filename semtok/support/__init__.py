"""What every room needs: files that appear whole or not at all, JSON of strangers, and the progress bar."""
