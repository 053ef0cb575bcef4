# What users call to have a manifest replayed. Compiled by `mod.rs`, which gives `replay_text`.


def preload(path=None, *, timeout=None, threads=None):
    return replay_text("preload")(path, timeout=timeout, threads=threads)
