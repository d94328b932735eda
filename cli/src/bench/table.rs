//! Package `cli`, the benchmark: its figures for people. Must not measure.

use super::{Case, Figures};
use crate::output::Page;
use crate::text;

/// The figures as a table.
pub(crate) fn text(figures: &Figures) -> String {
    let mut page = Page::new(&[
        "Case",
        ">a second",
        ">lowest",
        ">highest",
        ">p50",
        ">p99",
        ">x disk",
        ">target",
    ]);
    for case in &figures.cases {
        let [lowest, median, highest] = case.per_second;
        page.row(vec![
            format!("{} ({})", case.name, case.unit),
            rounded(median),
            rounded(lowest),
            rounded(highest),
            case.p50_us.map(micros).unwrap_or_default(),
            case.p99_us.map(micros).unwrap_or_default(),
            case.ratio
                .map(|[_, median, _]| format!("{median:.2}"))
                .unwrap_or_default(),
            target(case),
        ]);
    }
    let memory = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), text::bytes);
    let loaded: Vec<String> = figures
        .loaded_bytes
        .iter()
        .map(|bytes| text::bytes(*bytes))
        .collect();
    format!(
        "{}\n\n{} rounds of {} s, {} bytes of data in an entry. x disk: median over the rounds of the ratio to the bare disk\n\
         right before. Memory of a daemon: {} idle, {} after all rounds (source, target).",
        page.text(),
        figures.rounds,
        figures.seconds_each,
        figures.payload_bytes,
        memory(figures.idle_bytes),
        loaded.join(", "),
    )
}

fn target(case: &Case) -> String {
    let Some(target) = case.target else {
        return String::new();
    };
    let reached = match case.ratio {
        Some([_, median, _]) => median >= target,
        None => case
            .per_second
            .get(1)
            .is_some_and(|median| *median >= target),
    };
    format!("{target} {}", if reached { "ok" } else { "MISSED" })
}

fn micros(micros: u64) -> String {
    let whole = micros / 1000;
    format!("{whole}.{:03} ms", micros % 1000)
}

#[allow(
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and shown without fraction"
)]
fn rounded(rate: f64) -> String {
    text::count(rate.round() as u64)
}
