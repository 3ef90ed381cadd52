//! The table of results, in Markdown.

use std::fmt::Write;

use crate::{
    round::{Rounds, Side},
    stats::Spread,
};

/// One row of the table.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) product: Option<Spread>,
    pub(crate) peer: Option<Spread>,
    pub(crate) unit: &'static str,
    pub(crate) ratio: Option<Spread>,
    pub(crate) limit: Option<Limit>,
    /// Processor seconds per million items, of product and peer.
    pub(crate) cpu: [Option<Spread>; 2],
    /// Peak resident memory, of product and peer.
    pub(crate) peak_rss_mib: [Option<f64>; 2],
    pub(crate) gate: String,
    /// How the figure was measured; printed below the table.
    pub(crate) note: String,
    /// The largest share of the cores, from 0 to 1, that other processes used before a run.
    pub(crate) busiest: f64,
}

/// The limit of a figure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// The median ratio is at least this.
    Ratio(f64),
    /// The median ratio is at most this.
    RatioAtMost(f64),
    /// The product's median is below this.
    Below(f64),
}

impl Row {
    /// Returns a row for product against peer.
    pub(crate) fn compared(figure: &str, unit: &'static str, rounds: &Rounds) -> Self {
        Self {
            figure: figure.to_owned(),
            unit,
            product: rounds.rate(Side::Product),
            peer: rounds.rate(Side::Peer),
            ratio: rounds.ratio(),
            cpu: [rounds.cpu(Side::Product), rounds.cpu(Side::Peer)],
            peak_rss_mib: [rounds.peak_rss_mib(Side::Product), rounds.peak_rss_mib(Side::Peer)],
            busiest: rounds.busiest(),
            ..Self::default()
        }
    }

    /// Returns whether the figure is within its limit; none if it has no limit or was not measured.
    pub(crate) fn holds(&self) -> Option<bool> {
        Some(match self.limit? {
            Limit::Ratio(least) => self.ratio?.median >= least,
            Limit::RatioAtMost(most) => self.ratio?.median <= most,
            Limit::Below(most) => self.product?.median < most,
        })
    }

    fn limit_cell(&self) -> String {
        let verdict = match self.holds() {
            Some(true) => "holds",
            Some(false) => "**MISSED**",
            None => return "–".to_owned(),
        };
        match self.limit {
            Some(Limit::Ratio(least)) => format!("ratio ≥ {least}: {verdict}"),
            Some(Limit::RatioAtMost(most)) => format!("ratio ≤ {most:.2}: {verdict}"),
            Some(Limit::Below(most)) => format!("< {}: {verdict}", number(most)),
            None => String::new(),
        }
    }
}

/// Returns the whole page: heading, table, notes, and figures that failed.
pub(crate) fn page(heading: &str, rows: &[Row], failures: &[String]) -> String {
    let mut page = format!("{heading}\n\n");
    page.push_str(
        "| figure | product: median (lowest – highest) | peer | ratio | limit | CPU-s/1M: product, peer | peak RSS MiB: \
         product, peer | gate |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _infallible = writeln!(
            page,
            "| {} | {} {} | {} | {} | {} | {}, {} | {}, {} | {} |",
            row.figure,
            spread(row.product),
            row.unit,
            spread(row.peer),
            spread(row.ratio),
            row.limit_cell(),
            row.cpu[0].map_or_else(dash, |cpu| number(cpu.median)),
            row.cpu[1].map_or_else(dash, |cpu| number(cpu.median)),
            row.peak_rss_mib[0].map_or_else(dash, number),
            row.peak_rss_mib[1].map_or_else(dash, number),
            row.gate,
        );
    }
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        let _infallible = writeln!(page, "\n**{}.** {}", row.figure, row.note);
    }
    for row in rows.iter().filter(|row| row.busiest > 0.1) {
        let _infallible = writeln!(
            page,
            "\n**The machine was not idle** before a run of {}: {:.0} % of its cores were busy.",
            row.figure,
            row.busiest * 100.0
        );
    }
    for failure in failures {
        let _infallible = writeln!(page, "\n**No figure**: {failure}");
    }
    page
}

fn spread(spread: Option<Spread>) -> String {
    spread.map_or_else(dash, |Spread { median, low, high }| {
        if (high - low).abs() < f64::EPSILON {
            number(median)
        } else {
            format!("{} ({} – {})", number(median), number(low), number(high))
        }
    })
}

fn dash() -> String {
    "–".to_owned()
}

/// Formats a number with about three significant digits, and with commas between groups of thousands.
fn number(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 1000.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let groups: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
            groups.join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(0.8123), "0.81");
        assert_eq!(number(42.25), "42.2");
        assert_eq!(number(1_234_567.0), "1,234,567");
    }

    #[test]
    fn a_limit_is_compared_with_the_median() {
        let mut row = Row { limit: Some(Limit::Ratio(0.8)), ..Row::default() };
        assert_eq!(row.holds(), None);
        row.ratio = Spread::of([0.7, 0.85, 0.9]);
        assert_eq!(row.holds(), Some(true));
        row.ratio = Spread::of([0.7, 0.75, 0.9]);
        assert_eq!(row.holds(), Some(false));
        assert!(page("# x", std::slice::from_ref(&row), &[]).contains("MISSED"));
        row.limit = Some(Limit::RatioAtMost(0.75));
        assert_eq!(row.holds(), Some(true));
        row.limit = Some(Limit::RatioAtMost(0.74));
        assert!(page("# x", &[row], &[]).contains("MISSED"));
    }
}
