//! Why it compiled: the nearest of so many known specializations, of which the last is the nearest.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jitspan::model::explain::{Argument, Form, Specialization, explain};

/// Six arguments, as a kernel has them.
fn specialization(number: usize, divisible: bool) -> Specialization {
    let argument = |name: &str, form| Argument { name: name.to_owned(), form, hints: Vec::new() };
    let pointer = || Form::Pointer { dtype: "bf16".to_owned(), aligned: true };
    Specialization {
        arguments: vec![
            argument("x_ptr", pointer()),
            argument("y_ptr", pointer()),
            argument("rows", Form::Scalar { dtype: "i32".to_owned(), divisible }),
            argument("columns", Form::Scalar { dtype: "i32".to_owned(), divisible: true }),
            argument("eps", Form::Scalar { dtype: "fp32".to_owned(), divisible: false }),
            argument("BLOCK", Form::Constexpr(number.to_string())),
        ],
        options: vec![("num_warps".to_owned(), "4".to_owned()), ("num_stages".to_owned(), "3".to_owned())],
    }
}

fn known(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("known specializations");
    let new = specialization(0, true);
    for count in [10, 100, 1_000, 10_000] {
        let mut known: Vec<_> = (1..count).map(|number| specialization(number, false)).collect();
        known.push(specialization(count, true));
        group.bench_function(BenchmarkId::new("explain", count), |bencher| {
            bencher.iter(|| black_box(explain(&new, &known)));
        });
    }
    group.finish();
}

criterion_group! {
    name = rows;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .without_plots();
    targets = known
}
criterion_main!(rows);
