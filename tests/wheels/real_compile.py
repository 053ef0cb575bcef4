"""One kernel that Triton really compiles while a request waits. No test. Takes its `traceparent`."""

import json
import sys

import jitspan
import kernels

jitspan.activate()
with jitspan.request({"traceparent": sys.argv[1]}, name="generate"):
    kernels.launch_add(block=256)
print(json.dumps(jitspan.flush(timeout=20)))
