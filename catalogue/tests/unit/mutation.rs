//! Mutation tests of the two files. Each cell is replaced by an invented value and by another cell of its column, removed from its
//! list, and removed with its line. Each time the loader must refuse the file, or the facts must no longer match. Only comments and
//! `why`, which is prose, may change.

use std::{collections::BTreeSet, num::NonZero, ops::Range, thread};

use catalogue::{self, Catalogue};

use super::facts::{METRICS, UNITS, of_metric, of_unit, written};

#[test]
fn every_altered_cell_of_a_unit_is_detected() {
    let blocks = blocks();
    let metrics = [blocks.metrics[1], blocks.lists[0].1.as_str()].concat();
    let facts: BTreeSet<_> = written("unit").map(str::to_owned).collect();
    let alterations = alterations(UNITS, &cells(UNITS));
    assert!(alterations.len() > 1_500, "{}", alterations.len());
    let met = |units: &str| {
        Catalogue::parse(&metrics, units).map(|catalogue| catalogue.units().iter().flat_map(of_unit).collect()).ok()
    };
    assert_eq!(met(UNITS).as_ref(), Some(&facts));
    nothing_survives(&alterations, |alteration| met(&alteration.applied_to(UNITS)).as_ref() == Some(&facts));
}

#[test]
fn every_altered_cell_of_a_metric_is_detected() {
    let blocks = blocks();
    let pool = cells(METRICS);
    let mut lists_seen = BTreeSet::new();
    let mut altered = 0;
    for (position, (block, metric)) in blocks.metrics.iter().zip(catalogue::metrics()).enumerate() {
        // A panel needs its component metrics, and every file needs a list of values. The rest of the file would only cost time.
        let needs_all = metric.components().next().is_some();
        let list =
            cells(block).iter().find(|cell| cell.column == "values").map_or("presence", |cell| cell.content(block));
        let list = &blocks.lists.iter().find(|(name, _)| *name == list).unwrap().1;
        let text = if needs_all { METRICS.to_owned() } else { [block, list.as_str()].concat() };
        let start = text.find(block).unwrap();
        let end = if lists_seen.insert(list) && !needs_all { text.len() } else { start + block.len() };
        let facts: BTreeSet<_> = written(metric.key()).map(str::to_owned).collect();
        let met = |text: &str| {
            let catalogue = Catalogue::parse(text, UNITS).ok()?;
            let metric = catalogue.metrics().get(if needs_all { position } else { 0 })?;
            Some(of_metric(metric).into_iter().collect())
        };
        assert_eq!(met(&text).as_ref(), Some(&facts), "{}", metric.key());
        let mut alterations = alterations(&text, &pool);
        alterations.retain(|alteration| start <= alteration.range.start && alteration.range.end <= end);
        altered += alterations.len();
        nothing_survives(&alterations, |alteration| met(&alteration.applied_to(&text)).as_ref() == Some(&facts));
    }
    assert_eq!(lists_seen.len(), blocks.lists.len(), "every list must be altered");
    assert!(altered > 8_000, "{altered}");
}

#[test]
fn every_cell_is_altered() {
    fn count(value: &toml::Value) -> usize {
        match value {
            toml::Value::Table(table) => {
                table.iter().filter(|(name, _)| *name != "why").map(|(_, value)| count(value)).sum()
            }
            toml::Value::Array(items) => items.iter().map(count).sum(),
            _ => 1,
        }
    }
    for text in [METRICS, UNITS] {
        assert_eq!(cells(text).len(), count(&toml::from_str(text).unwrap()));
    }
}

/// The file `metrics.toml`, split into parts that can be parsed separately.
struct Blocks {
    metrics: Vec<&'static str>,
    /// The lists of values by name.
    lists: Vec<(&'static str, String)>,
}

fn blocks() -> Blocks {
    let mut blocks = Blocks { metrics: Vec::new(), lists: Vec::new() };
    let starts: Vec<usize> =
        ["[[metric]]\n", "[[values."].iter().flat_map(|word| METRICS.match_indices(word)).map(|(at, _)| at).collect();
    for (at, start) in starts.iter().enumerate() {
        let block = &METRICS[*start..starts.get(at + 1).copied().unwrap_or(METRICS.len())];
        match block.strip_prefix("[[values.").and_then(|rest| rest.split(']').next()) {
            None => blocks.metrics.push(block),
            Some(name) => match blocks.lists.iter_mut().find(|(known, _)| *known == name) {
                Some((_, text)) => text.push_str(block),
                None => blocks.lists.push((name, block.to_owned())),
            },
        }
    }
    assert_eq!(blocks.metrics.len(), catalogue::metrics().len());
    blocks
}

/// One value of the file, including its quotes.
struct Cell {
    column: String,
    text: String,
    range: Range<usize>,
    line: Range<usize>,
}

impl Cell {
    fn content<'a>(&self, text: &'a str) -> &'a str {
        text[self.range.clone()].trim_matches('"')
    }
}

/// Returns all values of a file except the reasons of ranges.
fn cells(text: &str) -> Vec<Cell> {
    let (mut cells, mut column, mut start) = (Vec::new(), String::new(), 0);
    for line in text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        if line.starts_with(['#', '[']) {
            continue;
        }
        let values = match line.split_once(" = ") {
            Some((name, values)) if !name.contains('"') => {
                name.clone_into(&mut column);
                values
            }
            _ => line,
        };
        if column == "why" {
            continue;
        }
        let mut at = range.end - values.len();
        while at < range.end {
            let length = value_length(&text[at..range.end]);
            if length > 0 {
                let text = text[at..at + length].to_owned();
                cells.push(Cell { column: column.clone(), text, range: at..at + length, line: range.clone() });
            }
            at += length.max(text[at..].chars().next().unwrap().len_utf8());
        }
    }
    cells
}

/// Returns the length of the string, number or word at the start of a text; 0 when there is none.
fn value_length(text: &str) -> usize {
    if let Some(rest) = text.strip_prefix('"') {
        return rest.find('"').unwrap() + 2;
    }
    text.find(|letter: char| letter != '-' && !letter.is_ascii_alphanumeric()).unwrap_or(text.len())
}

struct Alteration {
    range: Range<usize>,
    with: String,
}

impl Alteration {
    fn applied_to(&self, text: &str) -> String {
        [&text[..self.range.start], &self.with, &text[self.range.end..]].concat()
    }
}

/// Returns the alterations of all cells; `pool` contains the other cells of each column.
fn alterations(text: &str, pool: &[Cell]) -> Vec<Alteration> {
    let mut alterations = Vec::new();
    let mut line = 0..0;
    for (position, cell) in cells(text).into_iter().enumerate() {
        let mut with = vec![invented(&cell.text)];
        let column = pool.iter().cycle().skip(position).take(pool.len());
        with.extend(
            column
                .filter(|other| other.column == cell.column)
                .map(|other| &other.text)
                .find(|other| **other != cell.text)
                .cloned(),
        );
        alterations.extend(with.into_iter().map(|with| Alteration { range: cell.range.clone(), with }));
        let Range { start, end } = cell.range;
        if text[end..].starts_with(", ") {
            alterations.push(Alteration { range: start..end + 2, with: String::new() });
        } else if text[..start].ends_with(", ") {
            alterations.push(Alteration { range: start - 2..end, with: String::new() });
        }
        if cell.line != line {
            line = cell.line.clone();
            alterations.push(Alteration { range: cell.line, with: String::new() });
        }
    }
    alterations
}

/// Returns a slightly different value of the same kind.
fn invented(value: &str) -> String {
    match value {
        "true" => return "false".to_owned(),
        "false" => return "true".to_owned(),
        _ => {}
    }
    let content = value.trim_end_matches('"');
    let quote = &value[content.len()..];
    match content.char_indices().next_back() {
        Some((at, digit @ '0'..='8')) => format!("{}{}{quote}", &content[..at], (digit as u8 + 1) as char),
        Some((at, '9')) => format!("{}8{quote}", &content[..at]),
        _ => format!("{content}x{quote}"),
    }
}

fn nothing_survives(alterations: &[Alteration], survives: impl Fn(&Alteration) -> bool + Sync) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let size = alterations.len().div_ceil(threads);
    thread::scope(|scope| {
        for part in alterations.chunks(size) {
            scope.spawn(|| {
                let survivors: Vec<_> = part.iter().filter(|alteration| survives(alteration)).collect();
                let said: Vec<_> = survivors.iter().map(|survivor| (&survivor.range, &survivor.with)).collect();
                assert!(said.is_empty(), "no test detects {said:?}");
            });
        }
    });
}
