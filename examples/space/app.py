"""The page of `semtok demo` as a Space of the Hugging Face Hub; `python app.py` runs it anywhere else."""

import os

from semtok.demo import serve

if __name__ == "__main__":
    # names of checkpoints and of models of tasks, separated by blanks; visitors choose among them
    serve(
        os.environ.get("SEMTOK_CHECKPOINTS", "tiny").split(),
        os.environ.get("SEMTOK_MODELS", "").split(),
        host=None,
    )
