//! The pictures, whole.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;

use super::samples::*;
use crate::semconv::{attribute, engine, event, span as on_span};
use crate::view::text::Palette;
use crate::view::waterfall::render;

fn picture(groups: Vec<ResourceSpans>) -> String {
    render(&trace(groups), 100, Palette { color: false })
}

#[test]
fn a_stalled_request_shows_what_it_waited_for() {
    insta::assert_snapshot!(picture(stalled_request()), @r#"
    POST /generate waited 1.09 s of 1.31 s for 2 compiles and 1 autotune
    trace 0af7651916cd43dd8448eb211c80319c · chat · 22:13:20.000 UTC

                                    0                     500 ms                 1 s
    POST /generate                  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━   1.31 s
    ├─ tokenize                     ━━╸                                                          51.0 ms
    └─ inference                      ╺━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━     1.20 s
       │  request cmpl-7f3a
       ├─ compile add_kernel           ███████████████                                            317 ms
       │     new specialization: BLOCK_SIZE 128 -> 256, n: i32 -> i64 · disk cache miss · triton
       │     kernels.py:42
       ├─ compile rms_norm_kernel                     ███████                                     146 ms
       │     first use · disk cache miss · triton · kernels.py:97
       └─ autotune matmul_kernel                             ████████████████████████████▌        626 ms
          │  new specialization: M 64 -> 512 · 3 of 8 configurations tried
          │  best BLOCK_M=64 BLOCK_N=128 num_warps=4 · triton · kernels.py:131
          ├─ compile matmul_kernel                           ███████                              139 ms
          ├─ compile matmul_kernel                                 ▐███████                       155 ms
          └─ compile matmul_kernel                                         ████████▌              183 ms
    "#);
}

#[test]
fn a_failed_request_shows_what_failed_and_where() {
    insta::assert_snapshot!(picture(failed_request()), @r#"
    POST /v1/chat/completions waited 482 ms of 540 ms for 1 compile, and failed
    trace 0af7651916cd43dd8448eb211c80319c · engine · gateway · 22:13:20.000 UTC

                                           0                  200 ms              400 ms
    ✗ POST /v1/chat/completions (gateway)  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  540 ms
    └─ ✗ inference (engine)                 ╺━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╸    494 ms
       │  jitspan.UnexpectedCompileError: JIT compile of softmax_kernel after warm-up
       └─ compile softmax_kernel             ████████████████████████████████████████████████     482 ms
             new specialization: n_cols 1024 -> 1000 · disk cache miss · triton · kernels.py:12
    "#);
}

#[test]
fn steps_of_one_request_on_two_ranks_are_told_apart() {
    let step = |number: u8, rank: i64| {
        let step = span(number, 1, "vllm.execute_model", 10, 90);
        with(step, &[(engine::RANK, Value::IntValue(rank)), (on_span::STALLED, Value::BoolValue(true))])
    };
    let groups = vec![from_service("chat", vec![span(1, 0, "llm_request", 0, 100), step(2, 0), step(3, 1)])];
    let picture = picture(groups);
    for rank in ["vllm.execute_model [rank 0]", "vllm.execute_model [rank 1]"] {
        assert!(picture.contains(rank), "{picture}");
    }
}

#[test]
fn colors_mark_the_stall_and_the_failure() {
    let groups = vec![from_service(
        "chat",
        vec![
            span(1, 0, "POST /generate", 0, 100),
            failed(
                with(span(2, 1, event::COMPILE, 10, 90), &[(attribute::ERROR_TYPE, string("CompilationError"))]),
                "",
            ),
            span(3, 1, event::LOAD, 90, 95),
        ],
    )];
    let picture = render(&trace(groups), 60, Palette { color: true }).replace('\x1b', "ESC");
    insta::assert_snapshot!(picture, @r#"
    ESC[1mPOST /generateESC[0m waited ESC[33m85.0 msESC[0m of 100 ms for 1 compile and 1 load
    ESC[2mtrace 0af7651916cd43dd8448eb211c80319c · chat · 22:13:20.00…ESC[0m

    ESC[2m                0                50 msESC[0m
    POST /generate  ESC[36m━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ESC[0m   100 ms
    ESC[2m├─ ESC[0mESC[31m✗ compileESC[0m    ESC[31m   ▐███████████████████████████▌ESC[0m     80.0 ms
    ESC[2m│     ESC[0mESC[31mCompilationErrorESC[0m
    ESC[2m└─ ESC[0mESC[33mloadESC[0m         ESC[33m                               ▐█▌ESC[0m   5.00 ms
    "#);
}

#[test]
fn compiles_told_by_events_alone_stand_inside_their_autotune() {
    let duration = |seconds| (attribute::DURATION, Value::DoubleValue(seconds));
    let kernel = (attribute::KERNEL_NAME, string("matmul_kernel"));
    let span = span(1, 9, "inference", 0, 1_000);
    let span = happened(span, event::COMPILE, 110, &[kernel.clone(), duration(0.2)]);
    let span = happened(span, event::COMPILE, 320, &[kernel.clone(), duration(0.3)]);
    let span = happened(span, event::AUTOTUNE, 100, &[kernel.clone(), duration(0.7)]);
    let span = happened(span, event::LOAD, 850, &[kernel, duration(0.004), (attribute::CACHE_RESULT, string("hit"))]);
    let span = happened(span, event::SUMMARY, 0, &[(attribute::EVENTS_OMITTED, Value::IntValue(12))]);
    insta::assert_snapshot!(picture(vec![from_service("engine", vec![span])]), @r#"
    inference waited 704 ms of 1.00 s for 1 autotune and 1 load
    trace 0af7651916cd43dd8448eb211c80319c · engine · 22:13:20.000 UTC

                                 0           200 ms      400 ms       600 ms      800 ms
    inference                    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━   1.00 s
    │  12 more events did not fit on the span
    ├─ autotune matmul_kernel          ████████████████████████████████████████████               700 ms
    │  ├─ compile matmul_kernel        ▐████████████▌                                             200 ms
    │  └─ compile matmul_kernel                     ▐██████████████████▌                          300 ms
    └─ load matmul_kernel                                                            ▐           4.00 ms
          disk cache hit
    "#);
}

#[test]
fn a_compile_outside_of_any_request_says_so() {
    let compile = with(span(1, 0, event::COMPILE, 0, 760), &compile("add_kernel", "first_use", "", 42));
    insta::assert_snapshot!(picture(vec![from_service("chat", vec![compile])]), @r#"
    compile add_kernel took 760 ms, outside of any request
    trace 0af7651916cd43dd8448eb211c80319c · chat · 22:13:20.000 UTC

                        0                 200 ms             400 ms             600 ms
    compile add_kernel  ████████████████████████████████████████████████████████████████████████  760 ms
       first use · disk cache miss · triton · kernels.py:42
    "#);
}

#[test]
fn a_span_that_only_says_it_stalled_gives_the_time_it_knows() {
    let stalled = with(
        span(1, 0, "inference", 0, 100),
        &[(on_span::STALLED, Value::BoolValue(true)), (on_span::STALL_TIME, Value::DoubleValue(0.06))],
    );
    insta::assert_snapshot!(picture(vec![from_service("chat", vec![stalled])]), @r#"
    inference waited 60.0 ms of 100 ms
    trace 0af7651916cd43dd8448eb211c80319c · chat · 22:13:20.000 UTC

               0               20 ms           40 ms           60 ms           80 ms
    inference  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  100 ms
    "#);
}

#[test]
fn impossible_times_circles_and_escape_sequences_are_survived() {
    let mut reversed = span(4, 1, "reversed", 80, 20);
    reversed.name = "\x1b[31mreversed\u{202e}\n".to_owned();
    let mut endless = span(5, 1, "", 0, 0);
    (endless.start_time_unix_nano, endless.end_time_unix_nano) = (0, u64::MAX);
    let groups = vec![from_service(
        "chat\x07",
        vec![
            span(1, 0, "root", 0, 100),
            span(2, 3, "circle one", 10, 20),
            span(3, 2, "circle two", 20, 30),
            span(6, 6, "own parent", 30, 40),
            reversed,
            endless,
            span(7, 1, event::COMPILE, 50, 50),
        ],
    )];
    insta::assert_snapshot!(picture(groups), @r#"
    root waited 0 ns of 100 ms for 1 compile
    trace 0af7651916cd43dd8448eb211c80319c · chat\u{7} · 22:13:20.000 UTC

                                    0                            50 ms
    root                            ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━   100 ms
    ├─ compile                                                   ▐                                  0 ns
    ├─ \u{1b}[31mreversed\u{202e}                                                                      ?
    └─ (no name)                                                                                       ?
    circle two                                 ╺━━━━━━                                           10.0 ms
    └─ circle one                        ╺━━━━━━                                                 10.0 ms
    own parent                                       ╺━━━━━━                                     10.0 ms
    "#);
}

#[test]
fn a_large_trace_shows_its_stalls_and_what_stands_above_them() {
    let mut spans = vec![span(255, 0, "POST /generate", 0, 300)];
    spans.extend((1..=80).map(|number| span(number, 255, "decode step", u64::from(number), u64::from(number) + 1)));
    spans.push(with(span(200, 80, event::COMPILE, 200, 280), &compile("add_kernel", "recompile", "", 42)));
    insta::assert_snapshot!(picture(vec![from_service("chat", spans)]), @r#"
    POST /generate waited 80.0 ms of 300 ms for 1 compile
    trace 0af7651916cd43dd8448eb211c80319c · chat · 22:13:20.000 UTC

                              0                    100 ms                200 ms
    POST /generate            ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━   300 ms
    └─ decode step                             ━                                                 1.00 ms
       └─ compile add_kernel                                             ██████████████████      80.0 ms
             recompile · disk cache miss · triton · kernels.py:42
    … and 79 more spans not drawn
    "#);
}
