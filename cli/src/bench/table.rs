//! Package `cli`, the benchmark: its figures for people. Must not measure.

use super::roles::{MeasuredAt, RoleCase, RoleFigure, Unit};
use super::{Case, Figures};
use crate::output::Page;
use crate::text;

/// The figures as tables.
pub(crate) fn text(figures: &Figures) -> String {
    let tables = [
        (!figures.roles.is_empty()).then(|| roles(figures)),
        (!figures.cases.is_empty()).then(|| rates(figures)),
    ];
    let tables: Vec<String> = tables.into_iter().flatten().collect();
    tables.join("\n\n")
}

/// Changes of role, and what they were measured at.
fn roles(figures: &Figures) -> String {
    let mut page = Page::new(&[
        "Case", "Figure", ">median", ">lowest", ">highest", ">target",
    ]);
    for case in &figures.roles {
        for (index, figure) in case.figures.iter().enumerate() {
            let [lowest, median, highest] = figure.values;
            page.row(vec![
                if index == 0 {
                    case.name.clone()
                } else {
                    String::new()
                },
                figure.name.to_owned(),
                of_unit(figure.unit, median),
                of_unit(figure.unit, lowest),
                of_unit(figure.unit, highest),
                most(figure),
            ]);
        }
    }
    let at: Vec<String> = figures.roles.iter().map(at).collect();
    format!("{}\n\n{}", page.text(), at.join("\n"))
}

/// What a case was measured at.
fn at(case: &RoleCase) -> String {
    let facts = case.at.iter().map(|MeasuredAt { name, value }| {
        if name.contains("bytes") {
            format!("{name} {}", text::bytes(*value))
        } else {
            format!("{name} {}", text::count(*value))
        }
    });
    let facts: Vec<String> = facts.collect();
    let runs = text::counted(case.runs as u64, "run", "runs");
    format!("{}: {runs}; {}", case.name, facts.join(", "))
}

fn most(figure: &RoleFigure) -> String {
    let Some(target) = figure.target else {
        return String::new();
    };
    let [_, _, highest] = figure.values;
    let reached = if highest <= target { "ok" } else { "MISSED" };
    format!("{} {reached}", of_unit(figure.unit, target))
}

#[allow(
    clippy::cast_sign_loss,
    reason = "neither a time nor a length is negative"
)]
fn of_unit(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Millis => text::millis(value.round() as u64),
        Unit::Bytes => text::bytes(value.round() as u64),
    }
}

/// The rates, beside the bare disk.
fn rates(figures: &Figures) -> String {
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
