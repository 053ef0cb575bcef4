use super::*;
use crate::manifest::read::read_lines;

/// Two kernels of a server: one that its warm-up had for other arguments, one that is tuned.
const MANIFEST: &str = r#"{"v":1,"kind":"specialization","runtime":"triton","runtime_version":"3.6.0","target":"cuda:90:32","kernel":{"module":"m","name":"expand","source":"0"},"arguments":[["x",{"pointer":"fp16","aligned":true}],["M",{"one":"i32"}],["stride",{"scalar":"i32"}]],"options":[["debug",false]],"key":"1","had":{"x":["*fp16"],"M":["i32 multiple of 16"],"stride":["i32 multiple of 16"]},"cause":"new_specialization","changes":["M: divisible by 16 -> 1"],"duration":0.5,"cache":"miss","requests":2}
{"v":1,"kind":"specialization","runtime":"triton","kernel":{"module":"m","name":"expand","source":"0"},"arguments":[["x",{"pointer":"fp16","aligned":true}],["M",{"scalar":"i32"}],["stride",{"scalar":"i32","divisible":true}]],"options":[["debug",false]],"key":"2","duration":0.25,"cache":"hit","requests":1,"times":3}
{"v":1,"kind":"tuning","runtime":"triton","target":"cuda:90:32","kernel":{"module":"m","name":"matmul","source":"0"},"tuning":{"key":[4096,"torch.float16"],"best":{"kwargs":{"BLOCK":64},"options":{"num_warps":4}}},"duration":2.0,"cache":"miss","requests":1}
{"v":1,"kind":"specialization","runtime":"triton","kernel":{"module":"m","name":"matmul","source":"0"},"arguments":[["BLOCK",{"constexpr":64}]],"tuned":true,"duration":1.5,"cache":"miss","requests":1}
{"v":1,"kind":"specialization","runtime":"cutedsl","kernel":{"module":"","name":"<b>gemm|x</b>"},"unsupported":"cutedsl cannot be replayed","duration":1.0,"cache":"miss","requests":1}
"#;

fn report() -> Report {
    Report::new(&read_lines(MANIFEST.as_bytes()), None)
}

#[test]
fn seconds_are_counted_once_and_the_costliest_kernel_comes_first() {
    let report = report();
    let told: Vec<_> = report.kernels.iter().map(|kernel| (&*kernel.kernel, kernel.seconds)).collect();
    // What a tuning has compiled is in the tuning's own time.
    assert_eq!(told, [("matmul", 2.0), ("<b>gemm|x</b>", 1.0), ("expand", 0.75)]);
    assert_eq!(report.headline(), "3.8 s of late compiles: 3 specializations and 1 tuning of 3 kernels");
    assert_eq!((report.times, report.requests), (6, 5));
}

#[test]
fn each_kernel_has_one_sentence_that_can_be_followed() {
    let report = report();
    let advice: Vec<_> = report.kernels.iter().map(|kernel| &*kernel.advice).collect();
    assert_eq!(
        advice,
        [
            "Tune `matmul` in the warm-up for (4096, \"torch.float16\"), or set TRITON_CACHE_AUTOTUNING=1.",
            "Call `<b>gemm|x</b>` in the warm-up with what it was called with, or keep CUTE_DSL_CACHE_DIR.",
            "Launch `expand` in the warm-up with M = 1, 17, stride = 17 (or mark `M`, `stride` `do_not_specialize`).",
        ]
    );
}

#[test]
fn the_variable_of_each_runtime_is_named_with_what_it_would_have_spared() {
    let report = report();
    let told: Vec<_> = report.caches.iter().map(|cache| (&*cache.runtime, cache.seconds, cache.variables[0])).collect();
    // What came from the disk is spared already.
    assert_eq!(told, [("triton", 2.5, "TRITON_CACHE_DIR"), ("cutedsl", 1.0, "CUTE_DSL_CACHE_DIR")]);
}

#[test]
fn against_a_baseline_only_what_it_does_not_have_is_new() {
    let manifest = read_lines(MANIFEST.as_bytes());
    assert_eq!(Report::new(&manifest, Some(&manifest)).new, Some(0));
    let old: String = MANIFEST.lines().skip(1).map(|line| format!("{line}\n")).collect();
    let report = Report::new(&manifest, Some(&read_lines(old.as_bytes())));
    assert_eq!(report.new, Some(1));
    assert_eq!(github::write(&report).lines().count(), 1);
    assert_eq!(junit::write(&report).matches("<failure").count(), 1);
    // A kernel that was changed since is the same call.
    let changed = MANIFEST.replace(r#""source":"0""#, r#""source":"1""#);
    assert_eq!(Report::new(&read_lines(changed.as_bytes()), Some(&manifest)).new, Some(0));
}

#[test]
fn a_name_from_somebodys_source_is_text_everywhere() {
    let report = report();
    for written in [html::write(&report), junit::write(&report), markdown::write(&report)] {
        assert!(!written.contains("<b>gemm"), "{written}");
    }
    assert!(markdown::write(&report).contains("gemm\\|x"));
    assert_eq!(html::escaped("a\u{1}\"<"), "a\u{fffd}&quot;&lt;");
}

#[test]
fn a_page_has_a_plot_and_loads_nothing() {
    let page = html::write(&report());
    assert_eq!(page.matches("<rect class=\"compile\"").count(), 3);
    assert_eq!(page.matches("<rect class=\"tune\"").count(), 2);
    for forbidden in ["http:", "https:", "<script", "src=", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn a_manifest_of_nothing_is_a_report_of_nothing() {
    let report = Report::new(&read_lines(&b"garbage\n"[..]), None);
    assert_eq!(report.headline(), "0.0 s of late compiles: 0 specializations and 0 tunings of 0 kernels");
    assert!(text::write(&report).ends_with("1 line could not be read, 0 beyond the bounds"));
    assert!(html::write(&report).contains("</html>"));
}
