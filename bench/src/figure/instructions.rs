//! The number of instructions of the pure normalizer, as callgrind counts them. It is the same on an idle and on a busy machine.
//!
//! `device-manager normalize` is run with some payloads and with twice as many. The difference is the cost of the second half,
//! without what is created on first use.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::pure::{CASES, Case};
use crate::{
    Result,
    plan::Plan,
    stats::Spread,
    table::{Limit, Row},
};

/// Payloads in each half.
const HALF: u64 = 20;
/// The limit of the ratio of instructions: the build under test divided by the other build.
const RATIO_MAX: f64 = 1.03;
/// The function whose instructions are counted, with all functions that it calls: by its name today, and by its name before the
/// registry of formats existed. A build has one of the two.
const FUNCTIONS: [&str; 2] = ["normalizer::registry::normalize", "normalizer::normalize"];

/// Counts the instructions for every format.
pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let builds: Vec<&Path> =
        [Some(&plan.binary), plan.against.as_ref()].into_iter().flatten().map(PathBuf::as_path).collect();
    let mut rows: Vec<Row> = Vec::new();
    for case in &CASES {
        let figure = format!("instructions, pure: {} {}", case.provider.as_str(), case.format.as_str());
        // The pure figures have two cases of one format, which differ in their peer only.
        if rows.iter().any(|row| row.figure == figure) {
            continue;
        }
        let mut counts = Vec::new();
        for build in &builds {
            counts.push(count(build, case).await?);
        }
        let (product, peer) = (counts.first().ok_or("no build")?, counts.get(1));
        if let Some(peer) = peer
            && peer.lines != product.lines
        {
            return Err(format!("gate of {figure}: {} lines, {} of the other build", product.lines, peer.lines).into());
        }
        eprintln!("{figure}: {:.0} a payload", product.a_payload);
        rows.push(Row {
            figure,
            unit: "instructions a payload",
            product: Spread::of([product.a_payload]),
            peer: peer.and_then(|peer| Spread::of([peer.a_payload])),
            ratio: peer.and_then(|peer| Spread::of([product.a_payload / peer.a_payload])),
            limit: peer.map(|_| Limit::RatioAtMost(RATIO_MAX)),
            gate: "nothing is refused, and both builds print as many lines".to_owned(),
            ..Row::default()
        });
    }
    if let Some(row) = rows.first_mut() {
        row.note = note();
    }
    Ok(rows)
}

fn note() -> String {
    format!(
        "callgrind counts the instructions of `normalize` while `device-manager normalize` reads {HALF} payloads in addition to \
         {HALF} others. It emulates a processor without the instructions for SHA."
    )
}

struct Count {
    a_payload: f64,
    lines: usize,
}

async fn count(build: &Path, case: &Case) -> Result<Count> {
    let dir = tempfile::tempdir()?;
    let mut files = Vec::new();
    for number in 0..HALF * 2 {
        let file = dir.path().join(format!("{number}"));
        fs::write(&file, (case.payload)(number).body)?;
        files.push(file);
    }
    let half = usize::try_from(HALF)?;
    let (once, _) = callgrind(build, case, files.get(..half).unwrap_or_default(), dir.path()).await?;
    let (twice, lines) = callgrind(build, case, &files, dir.path()).await?;
    if once == 0 {
        return Err(
            format!("{} has no function {}: the compiler inlined it", build.display(), FUNCTIONS.join(" or ")).into()
        );
    }
    Ok(Count { a_payload: (twice as f64 - once as f64) / HALF as f64, lines })
}

/// Runs a build under callgrind. Returns the number of instructions, and of printed lines.
async fn callgrind(build: &Path, case: &Case, files: &[PathBuf], dir: &Path) -> Result<(u64, usize)> {
    let profile = dir.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", &format!("--callgrind-out-file={}", profile.display())]);
    command.args(FUNCTIONS.map(|function| format!("--toggle-collect={function}")));
    command.arg(build).args(["normalize", "--provider", case.provider.as_str(), "--format", case.format.as_str()]);
    let output = command.args(files).kill_on_drop(true).output().await;
    let output = output.map_err(|error| format!("valgrind: {error} (apt-get install valgrind)"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} ended with {}: {said}", build.display(), output.status).into());
    }
    let counted = total(&fs::read_to_string(&profile)?).ok_or("callgrind's output has no line `totals`")?;
    Ok((counted, output.stdout.split(|byte| *byte == b'\n').count()))
}

fn total(profile: &str) -> Option<u64> {
    profile.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_in_the_output_of_callgrind_is_read() {
        assert_eq!(total("events: Ir\nsummary: 9\nfn=(1)\ntotals: 325479\n"), Some(325_479));
        assert_eq!(total("events: Ir\n"), None);
    }
}
