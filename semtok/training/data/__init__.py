"""Speech for training."""
