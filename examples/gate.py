"""A gate for CI: warms up as the server does, then serves one prompt in error mode. The first late compile fails it.

    python examples/gate.py                        # a prompt that the warm-up covers: status 0
    python examples/gate.py --prompt-tokens 1000   # one that it does not: status 1, and the reason

In error mode the first one raises. For a list of all of them take warn mode, and `jitspan report --fail-on new`.
"""

from __future__ import annotations

import argparse
import sys

import jitspan
import serve


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompt-tokens", type=int, default=max(serve.WARM_UP_LENGTHS))
    length = parser.parse_args().prompt_tokens
    for warm in serve.WARM_UP_LENGTHS:
        serve.model_step(warm)
    jitspan.activate(mode="error")
    try:
        with jitspan.request(name="gate"):
            serve.model_step(length)
    except jitspan.UnexpectedCompileError as error:
        print(f"{length} tokens: {error}", file=sys.stderr)
        return 1
    print(f"{length} tokens: nothing compiled")
    return 0


if __name__ == "__main__":
    sys.exit(main())
