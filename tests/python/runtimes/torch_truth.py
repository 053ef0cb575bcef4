"""What torch.compile does, on the CPU: Dynamo, Inductor with the C++ compiler, its caches."""

from __future__ import annotations

import functools
import sys
import threading

from steps import event, main, step, watch

watch()

import torch  # noqa: E402
import torch._dynamo  # noqa: E402

VERSION = tuple(int(number) for number in torch.__version__.split("+")[0].split(".")[:2])
torch.manual_seed(0)
X, Y = torch.arange(8.0), torch.ones(8)
NEW = "new_specialization"


@torch.compile
def scale(x, y):
    return torch.sin(x) * y + x.sum()


def total(values: torch.Tensor) -> float:
    return round(float(values.sum()), 3)


@step(event("compile", "scale", "miss", "first_use"))
def a_first_call():
    return total(scale(X, Y))


@step()
def a_call_whose_guards_hold():
    return total(scale(X + 1, Y))


@step(event("compile", "scale", "miss", NEW, "size mismatch at index 0. expected 8, actual 9"))
def another_shape():
    return total(scale(torch.ones(9), torch.ones(9)))


@step()
def a_shape_that_is_dynamic_by_now():
    return total(scale(torch.ones(11), torch.ones(11)))


@step(event("compile", "scale", "miss", NEW, "dtype mismatch"))
def another_dtype():
    return total(scale(X.double(), Y.double()))


@torch.compile
def broken(x):
    y = x + 1
    torch._dynamo.graph_break()
    return y * 2


@step(
    event("compile", "broken", "miss", "first_use"),
    event("compile", "torch_dynamo_resume_in_broken_at_", "miss", "first_use"),
)
def a_break_in_the_graph():
    return total(broken(X))


@torch.compile
def steep(x):
    return (x.cos() * x).sum()


@step(event("compile", "steep", "miss", "first_use"), event("compile", "steep (backward)", "miss", "first_use"))
def a_forward_for_a_gradient():
    leaf = X.clone().requires_grad_(True)
    value = steep(leaf)
    value.backward()
    return total(value.detach()), total(leaf.grad)


@functools.partial(torch.compile, dynamic=True)
def slope(x):
    return (x.sin() * x).sum()


@step(event("compile", "slope", "miss", "first_use"))
def a_backward_that_is_compiled_with_its_forward():
    leaf = X.clone().requires_grad_(True)
    value = slope(leaf)
    value.backward()
    return total(leaf.grad)


@functools.partial(torch.compile, backend="eager")
def plain(x):
    return x.tan()


@step(event("compile", "plain", "unknown", "first_use"))
def another_backend():
    return total(plain(X))


@step(
    event("load", "scale", "hit", "recompile"),
    event("compile", "plain", "unknown", "recompile"),
)
def what_dynamo_was_made_to_forget():
    torch._dynamo.reset()
    return total(scale(X, Y)), total(plain(X))


@torch.compile
def dry(x):
    return x * 3


@step()
def calls_of_a_call_whose_guards_hold():
    """What Python is told of it: the same with us and without."""
    scale(X, Y)
    calls = []
    sys.setprofile(lambda frame, what, of: calls.append((what, getattr(of, "__name__", frame.f_code.co_name))))
    scale(X, Y)
    sys.setprofile(None)
    return calls


@step()
def without_compiling():
    with torch.compiler.set_stance("force_eager"):
        return total(dry(X))


@torch.compile
def words(text):
    return text.upper()


@step()
def a_frame_without_a_tensor():
    return words("a")


def refuses(_graph, _inputs):
    raise LookupError("no such kernel")


@functools.partial(torch.compile, backend=refuses)
def refused(x):
    return x + 4


@step(event("compile", "refused", "unknown", "first_use", error="BackendCompilerFailed"))
def a_backend_that_fails():
    return total(refused(X))


@functools.partial(torch.compile, backend="eager", fullgraph=True)
def whole(x):
    torch._dynamo.graph_break()
    return x


@step(event("compile", "whole", "unknown", "first_use", error="Unsupported"))
def a_graph_that_must_be_whole_and_is_not():
    try:
        return total(whole(X))
    except Exception as error:
        return type(error).__name__


@functools.partial(torch.compile, backend="eager", dynamic=False)
def limited(x):
    return x.exp()


@step(
    event("compile", "limited", "unknown", "first_use"),
    event("compile", "limited", "unknown", NEW, "size mismatch"),
)
def more_compiles_than_are_allowed():
    with torch._dynamo.config.patch(**{LIMIT: 2}):
        return [total(limited(torch.zeros(size))) for size in (2, 3, 4, 5)]


LIMIT = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"


@step(event("compile", "inductor_graph", "miss"))
def inductor_alone():
    class Module(torch.nn.Module):
        def forward(self, x):
            return x.sigmoid() * 5

    compiled = torch._inductor.compile(torch.fx.symbolic_trace(Module()), [X])
    return total(compiled(X)[0] if isinstance(compiled(X), (list, tuple)) else compiled(X))


@torch.compile
def first(x):
    return x.neg() * 6


@torch.compile
def second(x):
    return x.neg() * 7


@step(
    event("compile", "first", "miss", "first_use", request="in_a_thread_of_first"),
    event("compile", "second", "miss", "first_use", request="in_a_thread_of_second"),
)
def in_two_threads():
    from steps import request

    totals = {}

    def serve(name, function):
        with request(f"in_a_thread_of_{name}"):
            totals[name] = total(function(X))

    threads = [threading.Thread(target=serve, args=pair) for pair in (("first", first), ("second", second))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return sorted(totals.items())


@step(event("compile", "heard", "unknown", "first_use"))
def callbacks_of_the_host():
    from torch._dynamo import callback

    heard = []
    callback.on_compile_start(lambda args: heard.append(args.callback_trigger.name))
    callback.on_compile_end(lambda args: heard.append(args.callback_trigger.name))
    torch.compile(HEARD, backend="eager")(X)
    callback.callback_handler.clear()
    return heard


def heard(x):
    return x + 8


HEARD = heard


@step(
    event("compile", "linear", "miss", "first_use"),
    event("autotune", "packed_linear", "miss", parent="jit.compile"),
    # 2.8 fails by itself where the C++ kernel wins.
    when=VERSION > (2, 8),
)
def a_kernel_that_is_chosen_by_benchmark():
    """The C++ GEMM against the library's."""
    layer = torch.nn.Linear(64, 64).eval()

    def linear(x):
        return layer(x)

    with torch.no_grad(), torch._inductor.config.patch(max_autotune=True, freezing=True):
        compiled = torch.compile(linear)
        return round(float(compiled(torch.ones(64, 64)).sum()), 1)


if __name__ == "__main__":
    main()
